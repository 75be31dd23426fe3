# The first process of a host. The host is switched off when its standard input ends.
# Arguments: the host's directory, the agent program, its port, the directories of rustup and
# of cargo's programs, the version of its control groups, and `agent` or `bare`: whether the system
# starts an agent.
set -eu
directory=$1 agent=$2 port=$3 rustup=$4 programs=$5 groups=$6 system=$7
root=$directory/root

mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" "$root"
mount -t proc proc "$root/proc"
for place in tmp run mnt; do mount -t tmpfs none "$root/$place"; done
mount --bind "$directory/dev" "$root/dev"
mkdir -p "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=0666 none "$root/dev/pts"
mount -t tmpfs none "$root/dev/shm"
mount -t mqueue none "$root/dev/mqueue"
mkdir -p "$root/opt/rustup" "$root/opt/cargo/bin"
mount --bind "$rustup" "$root/opt/rustup"
mount --bind "$programs" "$root/opt/cargo/bin"
touch "$root/opt/burst-agent"
mount --bind "$agent" "$root/opt/burst-agent"
chmod 1777 "$root/tmp" "$root/dev/shm"
mkdir -p "$root/sys/fs/cgroup"
case $groups in
v2) mount -t cgroup2 none "$root/sys/fs/cgroup" ;;
v1)
    mount -t tmpfs none "$root/sys/fs/cgroup"
    for kind in memory pids; do
        mkdir "$root/sys/fs/cgroup/$kind"
        mount -t cgroup -o "$kind" none "$root/sys/fs/cgroup/$kind"
    done
    ;;
esac
cd "$root"
pivot_root . mnt
umount -l /mnt
mount -t tmpfs none /mnt

# As the image has it: an agent that is started again when it ends, a user for builds, and nothing of the machine's own secrets.
mount -t tmpfs -o mode=0700 none /root
getent group build >/dev/null || groupadd --system build
getent passwd build >/dev/null || useradd --system --gid build --home-dir /home/build build
mkdir -p /home/build && chown build:build /home/build

if [ "$system" = bare ]; then
    echo "no agent" >>/host.log
    cat >/dev/null
    exit
fi
# Both families by one socket, where this machine has both.
listen=0.0.0.0
[ ! -e /proc/net/if_inet6 ] || listen='[::]'
env -i PATH=/opt/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/root LANG=C.UTF-8 RUSTUP_HOME=/opt/rustup RUSTUP_AUTO_INSTALL=0 \
    bash -c 'while :; do
        (exec -a burst-agent /opt/burst-agent serve --server --listen "$1")
        sleep 0.2
    done' bash "$listen:$port" \
    </dev/null >>/host.log 2>&1 &
cat >/dev/null
