
# `cargo burst` is completed as `cargo-burst` is, everything else of cargo as before.
_cargo_burst_note_before() {
    local before
    before=$(complete -p cargo 2>/dev/null | sed -n 's/.* -F \([^ ]*\) .*/\1/p')
    if [[ ${before} != _cargo_or_burst ]]; then
        _cargo_burst_before=${before}
    fi
}

_cargo_or_burst() {
    if [[ ${COMP_CWORD} -ge 2 && ${COMP_WORDS[1]} == burst ]]; then
        COMP_WORDS=(cargo-burst "${COMP_WORDS[@]:2}")
        COMP_CWORD=$((COMP_CWORD - 1))
        _cargo_burst cargo-burst "$2" "${COMP_WORDS[COMP_CWORD - 1]}"
        return
    fi
    if [[ -z ${_cargo_burst_before} ]]; then
        # bash-completion loads the completion of a command when it is first needed.
        complete -r cargo
        if declare -F _comp_load >/dev/null; then
            _comp_load cargo
        elif declare -F _completion_loader >/dev/null; then
            _completion_loader cargo
        fi
        _cargo_burst_note_before
        _cargo_burst_before=${_cargo_burst_before:-:}
        complete -F _cargo_or_burst -o bashdefault -o default cargo
    fi
    "${_cargo_burst_before}" "$@"
}

_cargo_burst_note_before
complete -F _cargo_or_burst -o bashdefault -o default cargo
