# The spending cap: what a step costs at worst, by live prices. Sourced by `acceptance`.
#
# The sum of the worst cases of all steps that have begun stays below the cap, whatever they really
# cost. Amounts are net, in the currency of the account.

# Prints what a step costs at worst: TYPE SERVERS HOURS VOLUMES, the hours each started. A server
# has an address; a volume has 10 GB and is deleted within a day.
worst_case() {
    local type=$1 servers=$2 hours=$3 volumes=$4 types pricing
    types=$(api GET "/server_types?name=$type")
    pricing=$(api GET /pricing)
    jq -n --argjson types "$types" --argjson pricing "$pricing" \
        --argjson servers "$servers" --argjson hours "$hours" --argjson volumes "$volumes" '
        def highest: map(tonumber) | max // error("there is no price");
        ($types.server_types[0].prices | map(.price_hourly.net) | highest) as $server
        | ([$pricing.pricing.primary_ips[] | select(.type == "ipv4") | .prices[].price_hourly.net]
            | highest) as $address
        | ($pricing.pricing.volume.price_per_gb_month.net | tonumber) as $gb
        | ($server + $address) * $servers * $hours + 10 * $gb / 30 * $volumes'
}

# Adds COST to what is spent at worst; fails if the cap does not allow it.
reserve() {
    local sum
    sum=$(jq -n "$(cat "$work/spent") + $1")
    jq -en "$sum <= $cap" >/dev/null || return 1
    echo "$sum" >"$work/spent"
}

# Shows an amount with four digits.
amount() {
    printf 'EUR %.4f' "$1"
}
