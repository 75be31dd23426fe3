# The account at Hetzner, seen without the program under test: requests, what belongs to this run,
# and its deletion. Sourced by `acceptance`.
#
# A resource belongs to this run if it has the label of cargo-burst and that of an owner which this
# run's state directory has been: the program names its own servers and volumes, and the API tells
# their owner. Nothing else is ever deleted.

# Sends a request: METHOD PATH [BODY]. Prints the body; the status is in `$work/status`.
api() {
    local arguments=(--silent --show-error --max-time 30 --request "$1" --output "$work/body")
    arguments+=(--header "@$work/header" --write-out '%{http_code}')
    [ $# -lt 3 ] || arguments+=(--header 'content-type: application/json' --data "$3")
    : >"$work/body"
    curl "${arguments[@]}" "$endpoint$2" >"$work/status"
    cat "$work/body"
}

# Whether the last request was carried out.
api_did() {
    [[ $(cat "$work/status") == 2* ]]
}

# Makes TOKEN the one of `api`. It is in no argument: other users see those.
use_token() {
    (umask 077 && printf 'authorization: Bearer %s\n' "$1" >"$work/header")
}

# Learns the owner of what the program says is its own.
note_owners() {
    local kind name owner
    burst status --json >"$work/own.json" 2>/dev/null || return 0
    for kind in servers volumes; do
        for name in $(jq -r ".hetzner.$kind[]? | select(.own) | .name" "$work/own.json"); do
            owner=$(api GET "/$kind?name=$name" |
                jq -r ".$kind[0].labels[\"cargo-burst.owner\"] // empty")
            [ -z "$owner" ] || grep -qsx "$owner" "$work/owners" || echo "$owner" >>"$work/owners"
        done
    done
}

# Prints the resources of KIND that belong to this run, as a JSON array.
own() {
    local owner
    while read -r owner; do
        api GET "/$1?per_page=50&label_selector=managed-by%3Dcargo-burst%2Ccargo-burst.owner%3D$owner" |
            jq -c ".$1[]?"
    done <"$work/owners" | jq -s .
}

# How many resources of KIND belong to this run.
count() {
    own "$1" | jq length
}

# Waits up to SECONDS until no server of this run is left.
# Waits until the action that the last call has begun, whose answer is in `trace`, is completed.
await_action() {
    local id until=$((SECONDS + $1))
    id=$(jq '.action.id' "$work/trace")
    while [ "$(api GET "/actions/$id" | jq -r '.action.status')" != success ]; do
        [ $SECONDS -lt $until ] || fail "the action is not completed after $1 s: $(cat "$work/trace")"
        sleep 1
    done
}

await_no_server() {
    local until=$((SECONDS + $1))
    while [ "$(count servers)" != 0 ]; do
        [ $SECONDS -lt $until ] || fail "a server is there after $1 s: $(own servers | jq -r '.[].name')"
        sleep 1
    done
}

# Fails if something of this run is left.
expect_nothing() {
    local kind left
    for kind in servers volumes; do
        left=$(own "$kind" | jq -r '.[].name')
        [ -z "$left" ] || fail "left over: $left"
    done
}

# Deletes all that belongs to this run, whatever the program under test does: servers first, then
# volumes, which are locked for a while. Returns 1 if something is left after five minutes.
delete_own() {
    local kind id until=$((SECONDS + 300))
    use_token "$token"
    note_owners
    for kind in servers volumes primary_ips ssh_keys images; do
        while :; do
            local ids
            ids=$(own "$kind" | jq -r '.[].id')
            [ -n "$ids" ] || break
            [ $SECONDS -lt $until ] || return 1
            for id in $ids; do
                api DELETE "/$kind/$id" >/dev/null
            done
            sleep 1
        done
    done
}
