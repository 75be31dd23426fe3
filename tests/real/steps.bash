# The steps of the acceptance. Sourced by `acceptance`.
#
# A step begins and ends without resources. Its function ends with an error, or by `fail`, if it
# fails, and by `not_run` if it cannot be tried here. `costs_NAME` prints what it needs at worst:
# TYPE SERVERS HOURS VOLUMES; without it the step costs nothing.

declare -A about=(
    [tokens]='tokens that may only read, or are revoked, are told and create nothing'
    [limits]='a type beyond the limits of the account is refused with the reason, and nothing is left'
    [bake]='an image is baked, and nothing is left of bakes that are interrupted'
    [cold]='a cold start, after which the server answers on port 7777 alone'
    [attach]='three projects at once get one server with three volumes'
    [locked]='`down` while a volume is being attached leaves nothing'
    [hour]='an idle server is deleted just before its paid hour ends, and the bill has one hour'
    [leak_kill]='a server whose keeper was killed deletes itself'
    [leak_reboot]='a server that has rebooted is used again, and deleted'
    [leak_revocation]='a server of a revoked token is deleted with the next one'
    [leak_lid]='a keeper that has slept beyond the lease deletes when it wakes'
    [stock]='the next type is taken where one is out of stock'
    [region]='another region'
    [arm]='a server with Arm cores'
    [networks]='a network that blocks UDP: commands go by TCP, and doctor tells it'
)
order=(tokens limits bake cold attach locked hour leak_kill leak_reboot leak_revocation leak_lid
    stock region arm networks)

# One server for an hour, with one volume.
one_server() {
    echo "$type 1 1 1"
}
costs_cold() { one_server; }
costs_leak_kill() { one_server; }
costs_leak_reboot() { one_server; }
costs_leak_revocation() { one_server; }
costs_leak_lid() { one_server; }
costs_region() { one_server; }
costs_networks() { one_server; }

step_tokens() {
    local kind check given
    for kind in read revoked; do
        given=${kind^^}_TOKEN
        [ -n "${!given:-}" ] || not_run "it needs $given, a token of the project of that kind"
        [ "$kind" = read ] && check=rights || check=token
        HCLOUD_TOKEN=${!given} expect 116 doctor --json
        jq -e ".checks[] | select(.name == \"$check\") | .state == \"error\"" "$work/out" >"$work/trace" ||
            fail "doctor does not tell the $kind token"
        HCLOUD_TOKEN=${!given} expect 116 sync
    done
    expect_nothing
}

costs_limits() {
    echo "$(largest_dedicated) 1 1 1"
}
step_limits() {
    local large there
    scenario '{"quota": {"dedicated_cores": 0}}'
    large=$(largest_dedicated)
    there=$(regions_of "$large" | head -n 1)
    [ -n "$there" ] || not_run "$large is out of stock"
    if burst sync CARGO_BURST_SERVER_TYPE="$large" CARGO_BURST_REGION="$there" 2>"$work/err"; then
        note "the limits of this account allow a $large"
    else
        grep -qiE 'limit|quota' "$work/err" || fail "no limit is named: $(cat "$work/err")"
    fi
    note_owners
    down
}

step_bake() {
    burst help | grep -q '^ *image ' || not_run 'there is no command yet that bakes an image'
    fail 'this step is to be written with the command that bakes an image'
}

step_cold() {
    local began=$SECONDS address open
    burst build
    note "the first build took $((SECONDS - began)) s"
    note_owners
    [ "$("$work/hello/target/debug/hello")" = hello ] || fail 'the program is not here'
    address=$(own servers | jq -r '.[0].public_net.ipv4.ip')
    open=$(open_ports "$address" | sort -n | xargs)
    [ "$open" = 7777 ] || fail "open ports of TCP: ${open:-none}"
    expect_check ports ok
    burst run
    [ "$(count servers)" = 1 ] || fail 'a warm command has made another server'
    down
}

costs_attach() {
    echo "$type 1 1 3"
}
step_attach() {
    local name pids=() pid
    for name in one two three; do
        new_project "$name"
        (cd "$work/$name" && burst sync) &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || fail 'one of three commands at once has failed'
    done
    note_owners
    [ "$(count servers)" = 1 ] || fail "$(count servers) servers"
    [ "$(own volumes | jq '[.[] | select(.server != null)] | length')" = 3 ] ||
        fail 'not three volumes are attached'
    down
}

costs_locked() {
    echo "$type 2 1 2"
}
step_locked() {
    local second
    burst sync
    note_owners
    scenario '{"action_secs": {"default": 0.05, "attach_volume": 4, "detach_volume": 2}}'
    new_project second
    (cd "$work/second" && burst sync) &
    second=$!
    await 'the volume of a second project' '[ "$(count volumes)" = 2 ]'
    burst down --with-volumes "${yes[@]}" || note '`down` has failed while the volume was attached'
    wait "$second" || true
    # The second command may have got another server.
    down
}

costs_hour() {
    echo "$type 1 2 1"
}
step_hour() {
    local before server paid_until deleted_at hours
    before=$(burst audit --json | jq .started_hours)
    burst sync --keep-alive 60 CARGO_BURST_KEEP_PAID_HOUR=true
    note_owners
    server=$(burst status --json | jq '.hetzner.servers[0]')
    paid_until=$(date -d "$(jq -r .paid_until <<<"$server")" +%s)
    deleted_at=$(date -d "$(jq -r .deleted_at <<<"$server")" +%s)
    [ "$deleted_at" -lt "$paid_until" ] || fail 'it is to be deleted after its paid hour'
    [ "$deleted_at" -gt $((paid_until - 600)) ] || fail 'it is to be deleted long before its hour ends'
    pass_time $((deleted_at - 120 - $(api_time)))
    burst status >"$work/trace"
    [ "$(count servers)" = 1 ] || fail 'it was deleted before'
    pass_time $((deleted_at + 1 - $(api_time)))
    burst status >"$work/trace"
    await_no_server 60
    [ "$(api_time)" -lt "$paid_until" ] || fail 'it was deleted after its paid hour'
    hours=$(($(burst audit --json | jq .started_hours) - before))
    [ "$hours" = 1 ] || fail "the audit has $hours started hours"
    if [ -n "$dry_run" ]; then
        # shellcheck disable=SC2016
        hours=$(control GET ledger | jq --arg name "$(jq -r .name <<<"$server")" '
            [.lines[] | select(.name == $name and (.item | type == "object" and has("server")))]
            | last | (.to - .from) / 3600000 | ceil')
        [ "$hours" = 1 ] || fail "the bill has $hours hours"
    else
        note "the invoice of this month has to show one hour of $(jq -r .name <<<"$server")"
    fi
    down
}

step_leak_kill() {
    burst sync --keep-alive 5 CARGO_BURST_KEEP_PAID_HOUR=false CARGO_BURST_DEAD_MAN_SWITCH=true \
        CARGO_BURST_KEEP_ALIVE_SECS=30 CARGO_BURST_DEAD_MAN_SECS=0 CARGO_BURST_RECONNECT_SECS=5
    note_owners
    [ "$(count servers)" = 1 ] || fail 'no server is there'
    kill -9 "$(keeper)"
    await_no_server 120
    down
}

step_leak_reboot() {
    local id
    burst sync
    note_owners
    id=$(own servers | jq '.[0].id')
    api POST "/servers/$id/actions/reboot" >"$work/trace"
    if ! api_did; then
        down
        [ -z "$dry_run" ] || not_run 'this simulator reboots no servers'
        fail "the API does not reboot it: $(cat "$work/trace")"
    fi
    await_action 60
    [ "$(burst run)" = hello ] || fail 'the program does not run'
    [ "$(own servers | jq -r 'map(.id) | join(" ")')" = "$id" ] || fail 'there is another server'
    down
}

step_leak_revocation() {
    local used=$token
    if [ -z "$dry_run" ]; then
        [ -n "${SECOND_TOKEN:-}" ] && [ -t 0 ] ||
            not_run 'it needs SECOND_TOKEN, which you revoke when asked, and a terminal'
        used=$SECOND_TOKEN
    fi
    HCLOUD_TOKEN=$used burst sync --keep-alive 2 CARGO_BURST_KEEP_PAID_HOUR=false
    note_owners
    if [ -z "$dry_run" ]; then
        read -r -p 'Revoke SECOND_TOKEN in the Hetzner console, then press Enter. '
    else
        scenario "{\"tokens\": {\"$token\": \"revoked\"}}"
    fi
    HCLOUD_TOKEN=$used expect 116 status
    scenario '{}'
    await 'the deletion with a token that is accepted' \
        'burst reap >"$work/trace"; [ "$(count servers)" = 0 ]'
    down
}

step_leak_lid() {
    local sleeping
    burst sync --keep-alive 3 CARGO_BURST_KEEP_PAID_HOUR=false CARGO_BURST_DEAD_MAN_SWITCH=false
    note_owners
    sleeping=$(keeper)
    kill -STOP "$sleeping"
    # The lease ends meanwhile.
    sleep 6
    [ "$(count servers)" = 1 ] || fail 'it was deleted before'
    kill -CONT "$sleeping"
    await_no_server 60
    down
}

costs_stock() {
    echo "$(out_of_stock) 1 1 1"
    one_server
}
step_stock() {
    local missing
    missing=$(out_of_stock)
    [ -n "$missing" ] || not_run 'each type is in stock in one of the regions'
    scenario "{\"stock\": [{\"server_type\": \"$missing\", \"there\": false}]}"
    burst sync CARGO_BURST_SERVER_TYPE="$missing,$type"
    note_owners
    expect_server server_type "$type"
    down
}

step_region() {
    local other
    other=$(regions_of "$type" | grep -vx "$region" | head -n 1) || true
    [ -n "$other" ] || not_run "$type is in stock in one region only"
    burst sync CARGO_BURST_REGION="$other"
    note_owners
    expect_server location "$other"
    down
}

costs_arm() {
    [ -z "$(cheapest arm)" ] || echo "$(cheapest arm) 1 1 1"
}
step_arm() {
    local arm
    arm=$(cheapest arm)
    [ -n "$arm" ] || not_run 'there is no image for Arm, or no type with Arm cores in stock'
    [ "$(burst run CARGO_BURST_SERVER_TYPE="$arm" CARGO_BURST_REGION="$(regions_of "$arm" | head -n 1)")" = hello ] || fail 'the program does not run'
    note_owners
    expect_server server_type "$arm"
    down
}

step_networks() {
    local address
    [ "$(id -u)" = 0 ] && command -v nft >"$work/trace" || not_run 'it needs root and nft'
    burst sync
    note_owners
    address=$(own servers | jq -r '.[0].public_net.ipv4.ip')
    # Only to that address, so that nothing else on this machine is concerned.
    nft -f - <<RULES
table inet $table {
    chain out {
        type filter hook output priority 0;
        ip daddr $address udp dport 7777 drop
    }
}
RULES
    end_keeper
    expect_check ports warning
    [ "$(burst run)" = hello ] || fail 'the program does not run'
    nft delete table inet "$table"
    expect_check ports ok
    [ "$(burst run)" = hello ] || fail 'the program does not run'
    down
}
