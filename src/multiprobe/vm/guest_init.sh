#!/bin/sh
# The guest's first process: makes the machine's files visible (and privately writable), runs /job/command, and tells
# the host how it ended. Everything is busybox; the host speaks through virtio ports named stdin, stdout, stderr,
# control (host to guest: "signal NAME", "size ROWS COLUMNS", "hangup STREAM") and result (guest to host: "ready",
# "exit STATUS"). When it gives up it says why on the console and switches off.

b=/bin/busybox
say() { echo "multiprobe: $*"; }
give_up() { say "$*"; $b poweroff -f; $b sleep 60; }

$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    [ ! -e "$module" ] || $b insmod "$module" || say "insmod $module failed"
done
. /job/settings

# The machine's files, read-only at the bottom; what is written goes to memory and is forgotten.
$b mount -t virtiofs -o ro host /lower || give_up "cannot reach the host's files: this kernel has no virtiofs"
$b mount -t tmpfs upper /upper
$b mkdir /upper/files /upper/work
missing=
# Without overlayfs (a module, whose file may be missing) the root is in memory, with the machine's directories in it.
without_overlay() {
    missing="overlayfs: this machine's files are read-only, but for /tmp, /run and /var/tmp, which are empty"
    $b mount -t tmpfs -o mode=755 root /newroot
    for path in /lower/* /lower/.[!.]*; do
        name=${path##*/}
        case $name in proc | sys | dev | tmp | run) continue ;; esac
        if [ -d "$path" ] && [ ! -L "$path" ]; then
            $b mkdir "/newroot/$name" && $b mount --bind "$path" "/newroot/$name"
        elif [ -e "$path" ] || [ -L "$path" ]; then
            $b cp -P "$path" "/newroot/$name"
        fi
    done
    $b mkdir -p /newroot/tmp /newroot/run
    $b chmod 1777 /newroot/tmp
    [ ! -d /newroot/var/tmp ] || $b mount -t tmpfs -o mode=1777 tmp /newroot/var/tmp
}
# overlayfs opens files with O_NOATIME, which their server may not do with files of others if it isn't root. It leaves
# that out if whoever mounted it lacks CAP_FOWNER; the program that drops it is one of the machine's.
overlay_without_fowner() {
    layers=lowerdir=/sys/lower,upperdir=/sys/upper/files,workdir=/sys/upper/work
    $b mount -t proc proc /lower/proc && $b mount -o rbind / /lower/sys || return 1
    $b chroot /lower /usr/bin/setpriv --bounding-set=-fowner --inh-caps=-fowner \
        /sys/bin/busybox mount -t overlay -o $layers overlay /sys/newroot &&
        $b mount --move /lower/sys/newroot /newroot
    mounted=$?
    $b umount -l /lower/sys
    $b umount -l /lower/proc
    return $mounted
}
if [ -n "$served_by_root" ]; then
    $b mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /newroot
else
    overlay_without_fowner
fi 2>/dev/null || without_overlay
for directory in proc sys dev; do
    $b mkdir -p /newroot/$directory
    $b mount --bind /$directory /newroot/$directory
done
root=/newroot
$b mkdir -p $root/dev/pts $root/dev/shm
$b mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts $root/dev/pts
$b mount -t tmpfs -o mode=1777 shm $root/dev/shm
$b ln -s /proc/self/fd $root/dev/fd
$b ln -s /proc/self/fd/0 $root/dev/stdin
$b ln -s /proc/self/fd/1 $root/dev/stdout
$b ln -s /proc/self/fd/2 $root/dev/stderr
$b mount -t tracefs tracefs $root/sys/kernel/tracing 2>/dev/null
$b mount -t debugfs debugfs $root/sys/kernel/debug 2>/dev/null
$b mount -t bpf bpf $root/sys/fs/bpf 2>/dev/null
$b mount -t securityfs securityfs $root/sys/kernel/security 2>/dev/null
$b mount -t cgroup2 cgroup2 $root/sys/fs/cgroup 2>/dev/null
echo "$shares" | while read -r tag directory; do
    [ -z "$missing" ] || $b mkdir -p "$root$directory"
    [ -z "$tag" ] || $b mount -t virtiofs "$tag" "$root$directory" || say "cannot share $directory"
done
if [ -n "$host_modules" ] && [ -z "$missing" ]; then
    $b mkdir -p $root/lib/modules
    $b mount --bind "$root$host_modules" $root/lib/modules
fi
$b ip link set lo up
if [ -n "$has_network" ]; then # QEMU's own network: it answers as 10.0.2.2 (this machine) and 10.0.2.3 (name server)
    if $b ip link set eth0 up; then
        $b ip address add 10.0.2.15/24 dev eth0
        $b ip route add default via 10.0.2.2
        [ -n "$missing" ] || { $b rm -f $root/etc/resolv.conf && echo nameserver 10.0.2.3 >$root/etc/resolv.conf; }
    else
        say "no network: this kernel has no virtio_net"
    fi
fi
$b hostname multiprobe-guest
echo 60 >/proc/sys/kernel/watchdog_thresh 2>/dev/null # an emulated CPU may well be late
ulimit -Hn 1048576 2>/dev/null

# The command's root covers that of its mount namespace, as after switch_root(8): a process whose root is another one is
# chrooted, and may not enter a user namespace. This process keeps its own root, and the other as current directory.
cd /newroot && $b mount --move . / || give_up "cannot move the files to the root of the mount namespace"

# The ports appear when their driver has talked to the host.
port() {
    for directory in /sys/class/virtio-ports/vport*; do
        read -r name <$directory/name && [ "$name" = "$1" ] && device=/dev/${directory##*/} && return
    done 2>/dev/null
    return 1
}
wait_for_port() {
    tries=0
    until port "$1"; do
        tries=$((tries + 1))
        [ $tries -lt 500 ] || give_up "the port $1 did not appear: this kernel has no virtio_console"
        $b sleep 0.02
    done
}
wait_for_port result && exec 7>$device
wait_for_port control && exec 8<$device
wait_for_port stdout && exec 5>$device
wait_for_port stderr && exec 6>$device

# Programs get pipes, which can be reopened and take any write whole; a port can do neither.
$b mkfifo /stdin /stdout /stderr
tty=/dev/hvc0
stdout_relay=
stderr_relay=
case $terminal in *stdout*) out=$tty ;; *)
    out=/stdout
    $b cat <$out >&5 6>&- 7>&- 8<&- &
    stdout_relay=$!
    ;;
esac
case $terminal in *stderr*) err=$tty ;; *)
    err=/stderr
    $b cat <$err >&6 5>&- 7>&- 8<&- &
    stderr_relay=$!
    ;;
esac
in=/dev/null
case $terminal in
*stdin*)
    in=$tty
    ;;
*) if [ -n "$has_stdin" ]; then
    in=/stdin
    wait_for_port stdin
    $b cat <$device >$in 5>&- 6>&- 7>&- 8<&- &
fi ;;
esac
if [ -n "$terminal" ]; then
    exec 9<>$tty # a terminal that nobody has open forgets its size
    $b stty -F $tty sane rows "$rows" cols "$columns"
fi

# What the host asks for while the command runs.
while read -r verb first second <&8; do
    case $verb in
    signal)
        while [ ! -s /pid ]; do $b sleep 0.02; done
        read -r pid </pid
        kill -s "$first" -- "-$pid" 2>/dev/null
        ;;
    size) $b stty -F $tty rows "$first" cols "$second" ;;
    hangup) eval "kill -9 \$${first}_relay" ;;
    esac
done 5>&- 6>&- 7>&- &

if [ -n "$missing" ]; then
    note="multiprobe: note: this kernel lacks $missing"
    case $terminal in *stderr*) echo "$note" >$tty ;; *) echo "$note" >&6 ;; esac
fi

controlling=
case $terminal in *stdin*) controlling=-c ;; esac
$b dmesg -n 7
echo ready >&7
$b setsid $controlling $b sh -c 'echo $$ >/pid; . /job/command' <$in >$out 2>$err 5>&- 6>&- 7>&- 8<&- 9>&-
status=$?
$b dmesg -n 1

# Whoever is left would keep the pipes open; then the relays end by themselves.
for process in /proc/[0-9]*; do
    process=${process##*/}
    case " 1 $stdout_relay $stderr_relay " in
    *" $process "*) ;;
    *) kill -9 "$process" 2>/dev/null ;;
    esac
done
wait $stdout_relay $stderr_relay
mark=$(printf '\001%s' "$end_mark")
[ -z "$terminal" ] || printf %s "$mark" >$tty
printf %s "$mark" >&5
printf %s "$mark" >&6
$b sync
echo "exit $status" >&7
$b sleep 60 # the host pulls the plug
$b poweroff -f
