#!/bin/sh
# A mail spool on a small tmpfs, which fills up: `errors` finds why (docs/cases.md). Mounts it at /mnt: run it in a guest.
mountpoint -q /mnt || mount -t tmpfs -o size=64m,nr_inodes=40 spool /mnt
rm -f /mnt/message.*
for n in $(seq 50); do
    echo "a message" >/mnt/message."$n" || break
done
df -h /mnt
