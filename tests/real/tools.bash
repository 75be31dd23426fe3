# What the steps are made of: calls of the program, expectations, and the simulator. Sourced by
# `acceptance`.

# The exit code of a step that cannot be tried here.
NOT_RUN=77

# Ends the step.
fail() {
    echo "$1" | tee "$work/reason" >&2
    exit 1
}
not_run() {
    echo "$1" | tee "$work/reason"
    exit "$NOT_RUN"
}
note() {
    echo "   $1"
}

# Runs `cargo burst` with an environment of its own. Words such as CARGO_BURST_REGION=hel1 behind
# the arguments are variables.
burst() {
    local arguments=() variables=() word
    for word; do
        case $word in
        CARGO_BURST_*=*) variables+=("$word") ;;
        *) arguments+=("$word") ;;
        esac
    done
    env -i PATH="$PATH" HOME="$work/home" XDG_STATE_HOME="$work/state" \
        XDG_CACHE_HOME="$work/cache" XDG_CONFIG_HOME="$work/config" \
        CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}" \
        HCLOUD_TOKEN="${HCLOUD_TOKEN:-$token}" HCLOUD_ENDPOINT="$endpoint" \
        CARGO_BURST_SERVER_TYPE="$type" CARGO_BURST_REGION="$region" CARGO_BURST_VOLUME_GB=10 "${variables[@]}" \
        timeout 1800 "$program" burst "${arguments[@]}" </dev/null
}

# Runs it and expects an exit code; what it prints is in `$work/out` and `$work/err`.
expect() {
    local code=0 wanted=$1
    shift
    burst "$@" >"$work/out" 2>"$work/err" || code=$?
    [ "$code" = "$wanted" ] || fail "\`$*\`: exit code $code, not $wanted: $(cat "$work/err")"
}

# Expects a state of a check of `doctor`.
expect_check() {
    burst doctor --json >"$work/out" 2>"$work/err" || true
    jq -e ".checks[] | select(.name == \"$1\") | .state == \"$2\"" "$work/out" >"$work/trace" ||
        fail "$(jq -c ".checks[] | select(.name == \"$1\")" "$work/out")"
}

# Expects a KEY of the only server in `status`.
expect_server() {
    local found
    found=$(burst status --json | jq -r ".hetzner.servers | map(.$1) | join(\" \")")
    [ "$found" = "$2" ] || fail "$1 is $found, not $2"
}

# Waits up to two minutes until a command succeeds.
await() {
    local until=$((SECONDS + 120))
    until eval "$2"; do
        [ $SECONDS -lt $until ] || fail "$1 does not happen"
        sleep 0.2
    done
}

# Deletes what there is by the program itself, and expects that nothing is left.
down() {
    burst down --with-volumes "${yes[@]}"
    expect_nothing
}

# Makes a package in a directory below `$work`.
new_project() {
    mkdir -p "$work/$1/src" "$work/home"
    printf '[package]\nname = "%s"\nversion = "0.1.0"\nedition = "2021"\n' "$1" >"$work/$1/Cargo.toml"
    echo 'fn main() { println!("hello"); }' >"$work/$1/src/main.rs"
}

# The process of this run's keeper; fails if none runs.
keeper() {
    local pid
    pid=$(cat "$work/state/cargo-burst/keeper/pid" 2>/dev/null) || return 1
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q "$work" && echo "$pid"
}

# Ends it.
end_keeper() {
    local pid
    pid=$(keeper)
    kill -9 "$pid"
    await 'the end of the keeper' "[ ! -e /proc/$pid ]"
}

# Ends all processes of this run, also those that are stopped: they have its directory in their
# environment.
end_processes() {
    local pid
    for pid in /proc/[0-9]*; do
        if grep -qs "=$work/" "$pid/environ"; then
            kill -9 "${pid#/proc/}" 2>/dev/null || true
        fi
    done
}

# The regions that steps use: those of the program's default. An image is near them.
REGIONS='["hel1", "fsn1", "nbg1"]'

# The cheapest type of an architecture that is in stock there and that an image fits.
cheapest() {
    local images
    images=$(api GET '/images?type=snapshot&label_selector=managed-by%3Dcargo-burst')
    api GET '/server_types?per_page=50' | jq -r --arg architecture "$1" --argjson images "$images" \
        --argjson regions "$REGIONS" '
        ([$images.images[] | select(.architecture == $architecture) | .disk_size] | max) as $disk
        | [.server_types[] | select($disk != null and .architecture == $architecture
            and .cpu_type == "shared" and .disk >= $disk
            and any(.locations[]; .available and IN(.name; $regions[])))]
        | min_by([.prices[].price_hourly.net | tonumber] | min) | .name // empty'
}

# The type with most dedicated cores.
largest_dedicated() {
    api GET '/server_types?per_page=50' |
        jq -r '[.server_types[] | select(.cpu_type == "dedicated")] | max_by(.cores) | .name'
}

# A type that is out of stock everywhere; in a dry run another one than `$type`.
out_of_stock() {
    api GET '/server_types?per_page=50' | jq -r --arg type "$type" --arg dry_run "$dry_run" '
        [.server_types[] | select(.architecture == "x86" and .cpu_type == "shared" and .name != $type
            and ($dry_run != "" or all(.locations[]; .available | not)))][0].name // empty'
}

# The regions that have a type in stock.
regions_of() {
    api GET "/server_types?name=$1" | jq -r --argjson regions "$REGIONS" \
        '.server_types[0].locations[] | select(.available and IN(.name; $regions[])) | .name'
}

# The ports of TCP that accept connections at an address: all well-known ones, those of the
# neighbourhood, and some of usual services. In a dry run fewer.
open_ports() {
    local ports
    ports=$(seq 1 1024 && echo 2375 2376 3000 3306 5432 6443 {7770..7785} 8000 8080 8443 9090 10250)
    [ -z "$dry_run" ] || ports="22 80 111 443 2375 {7770..7785} 8080"
    [ -z "$dry_run" ] || ports=$(eval echo "$ports")
    # shellcheck disable=SC2016
    xargs -n 1 -P 64 timeout 2 bash -c '(exec 3<>"/dev/tcp/$0/$1") 2>/dev/null && echo "$1"; true' \
        "$1" <<<"$(tr ' ' '\n' <<<"$ports")" || [ $? = 123 ] # some have not answered
}

# A request to the simulator itself: METHOD PATH [BODY].
control() {
    curl --silent --show-error --fail --max-time 30 --request "$1" ${3:+--data "$3"} \
        "${endpoint%/v1}/control/$2"
}

# Has the simulator follow a scenario; the real API does not.
scenario() {
    [ -n "$dry_run" ] || return 0
    local tokens="{\"$READ_TOKEN\": \"read_only\", \"$REVOKED_TOKEN\": \"revoked\"}"
    control POST scenario "$(jq -n "{\"tokens\": $tokens} * $1")" >"$work/trace"
}

# The time by the API's clock, in seconds.
api_time() {
    date -d "$(curl --silent --max-time 30 --head --header "@$work/header" "$endpoint/locations" |
        tr -d '\r' | sed -n 's/^[Dd]ate: //p')" +%s
}

# Lets SECONDS pass, virtual ones in a dry run.
pass_time() {
    [ "$1" -gt 0 ] || return 0
    if [ -n "$dry_run" ]; then
        control POST advance "{\"secs\": $1}" >"$work/trace"
    else
        sleep "$1"
    fi
}
