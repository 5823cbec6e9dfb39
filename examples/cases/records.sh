#!/bin/sh
# Saves thirty records on ext4, each with its own fsync: `latency` finds what takes the time (docs/cases.md). With `once`, one
# sync ends them all. Makes the file system on a loop device: run it in a guest.
folder=/run/records
if ! mountpoint -q $folder; then
    mkdir -p $folder
    truncate -s 64M /run/disk && /sbin/mkfs.ext4 -q /run/disk
    modprobe -a loop ext4 && mount -t ext4 "$(losetup -f --show /run/disk)" $folder
fi
for n in $(seq 30); do
    echo "a record" >$folder/record."$n"
    [ "$1" = once ] || sync $folder/record."$n"
done
[ "$1" != once ] || sync -f $folder
