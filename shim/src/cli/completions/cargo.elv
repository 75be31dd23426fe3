
# `cargo burst` is completed as `cargo-burst` is, everything else of cargo as before.
var cargo-burst-before = {|@words| }
if (has-key $edit:completion:arg-completer cargo) {
    set cargo-burst-before = $edit:completion:arg-completer[cargo]
}
set edit:completion:arg-completer[cargo] = {|@words|
    if (and (> (count $words) 2) (eq $words[1] burst)) {
        $edit:completion:arg-completer[cargo-burst] cargo-burst (all $words[2..])
    } else {
        $cargo-burst-before $@words
    }
}
