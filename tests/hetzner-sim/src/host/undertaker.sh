# Waits for the end of the simulator, which closes its standard input, and removes its
# processes, networks, loop devices, control groups and files. Argument: the simulator's directory.
directory=$1
cat >/dev/null
for entry in "$directory"/networks/*; do
    [ -e "$entry" ] || continue
    name=${entry##*/}
    ip netns pids "$name" 2>/dev/null | xargs -r kill -9 2>/dev/null
    ip netns delete "$name" 2>/dev/null
    ip link delete "$name" 2>/dev/null
    nft delete table ip "$name" 2>/dev/null
done
# A device that is free by now must not become that of another simulator before it is detached.
(
    flock 9
    losetup --noheadings --list --output NAME,BACK-FILE |
        awk -v own="$directory/" 'index($2, own) == 1 { print $1 }' |
        xargs -r -n 1 losetup --detach 2>/dev/null
) 9>"${directory%/*}/hetzner-sim-loops.lock"
# The processes of a group are gone a moment after they were killed.
for mark in "$directory"/groups/*; do
    [ -e "$mark" ] || continue
    group=$(cat "$mark")
    for _ in $(seq 50); do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
        [ -e "$group" ] || break
        sleep 0.1
    done
done
rm -rf "$directory"
