#!/bin/sh
# Reports vanish while this runs, for some seconds: `trace` finds who moves them (docs/cases.md).
reports=$(mktemp -d) archive=$(mktemp -d)
for n in $(seq "${1:-5}"); do
    touch "$reports/today.csv"
    sleep 0.5
    find "$reports" -name '*.csv' -exec mv {} "$archive" ';'
done
rm -r "$reports" "$archive"
