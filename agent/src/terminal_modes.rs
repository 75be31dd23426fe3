//! The modes of a terminal, as messages hold them: read at the client, applied by the agent.

use burst_protocol::message::TerminalModes;
use rustix::termios::{InputModes, LocalModes, OutputModes, SpecialCodeIndex, Termios};

/// The control characters in the order of [`TerminalModes::characters`].
const CHARACTERS: [SpecialCodeIndex; 14] = [
    SpecialCodeIndex::VINTR,
    SpecialCodeIndex::VQUIT,
    SpecialCodeIndex::VERASE,
    SpecialCodeIndex::VKILL,
    SpecialCodeIndex::VEOF,
    SpecialCodeIndex::VSTART,
    SpecialCodeIndex::VSTOP,
    SpecialCodeIndex::VSUSP,
    SpecialCodeIndex::VEOL,
    SpecialCodeIndex::VREPRINT,
    SpecialCodeIndex::VDISCARD,
    SpecialCodeIndex::VWERASE,
    SpecialCodeIndex::VLNEXT,
    SpecialCodeIndex::VEOL2,
];

/// The place of the character that ends the input, in [`TerminalModes::characters`].
pub const END_OF_INPUT: usize = 4;

/// The modes of a new terminal whose input is UTF-8.
pub const USUAL: TerminalModes = TerminalModes {
    input: InputModes::ICRNL.union(InputModes::IXON).union(InputModes::IUTF8).bits(),
    output: OutputModes::OPOST.union(OutputModes::ONLCR).bits(),
    local: LocalModes::ISIG
        .union(LocalModes::ICANON)
        .union(LocalModes::IEXTEN)
        .union(LocalModes::ECHO)
        .union(LocalModes::ECHOE)
        .union(LocalModes::ECHOK)
        .union(LocalModes::ECHOCTL)
        .union(LocalModes::ECHOKE)
        .bits(),
    characters: [3, 28, 127, 21, 4, 17, 19, 26, 0, 18, 15, 23, 22, 0],
};

/// The modes of a terminal.
pub fn of(modes: &Termios) -> TerminalModes {
    TerminalModes {
        input: modes.input_modes.bits(),
        output: modes.output_modes.bits(),
        local: modes.local_modes.bits(),
        characters: CHARACTERS.map(|index| modes.special_codes[index]),
    }
}

/// Gives a terminal these modes. Flags that this kernel does not know are left out.
pub fn apply(client: &TerminalModes, modes: &mut Termios) {
    modes.input_modes = InputModes::from_bits_truncate(client.input);
    modes.output_modes = OutputModes::from_bits_truncate(client.output);
    modes.local_modes = LocalModes::from_bits_truncate(client.local);
    for (index, character) in CHARACTERS.into_iter().zip(client.characters) {
        modes.special_codes[index] = character;
    }
}
