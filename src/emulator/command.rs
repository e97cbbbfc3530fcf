//! Commands that a logical unit knows: which bits of each it looks at, how long it may take, who may send it.

use super::bytes::{u8_at, u16_at};
use super::sense::Sense;

/// Who may send a command while somebody holds a persistent reservation (SPC-4, tables 66 and 67; SSC-4,
/// table 11; SMC-3, table 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Everybody.
    Everybody,
    /// Everybody under write exclusive, registrants under exclusive access of registrants, else the holder.
    Reading,
    /// Registrants and the holder.
    Writing,
}

/// A command.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) operation_code: u8,
    /// In bits 0 to 4 of byte 1.
    pub(super) service_action: Option<u8>,
    /// The bits that may be set, from byte 1 on; the length of the command is one more than that of this.
    pub(super) usage: &'static [u8],
    /// Recommended time-out in seconds.
    pub(super) timeout_s: u32,
    pub(super) sharing: Sharing,
}

/// A command without service actions.
pub(super) const fn plain(
    operation_code: u8,
    usage: &'static [u8],
    timeout_s: u32,
    sharing: Sharing,
) -> Command {
    Command { operation_code, service_action: None, usage, timeout_s, sharing }
}

/// A command with a service action.
pub(super) const fn action(
    operation_code: u8,
    service_action: u8,
    usage: &'static [u8],
    timeout_s: u32,
    sharing: Sharing,
) -> Command {
    Command { operation_code, service_action: Some(service_action), usage, timeout_s, sharing }
}

impl Command {
    /// Length of the command in bytes.
    pub(super) fn len(&self) -> usize {
        self.usage.len() + 1
    }

    /// Bits that may be set in a byte, as REPORT SUPPORTED OPERATION CODES tells them.
    pub(super) fn usage_data(&self) -> Vec<u8> {
        let mut bytes = vec![self.operation_code];
        bytes.extend(self.usage);
        if let (Some(action), Some(byte)) = (self.service_action, bytes.get_mut(1)) {
            *byte = *byte & 0xe0 | action;
        }
        bytes
    }

    /// Refuses bits that must be clear: 5/24/00 with the place of the first.
    fn check(&self, cdb: &[u8]) -> Result<(), Sense> {
        for (index, usage) in self.usage.iter().enumerate() {
            let allowed = if index == 0 && self.service_action.is_some() { usage | 0x1f } else { *usage };
            let wrong = u8_at(cdb, index + 1) & !allowed;
            if wrong != 0 {
                let bit = u8::try_from(wrong.ilog2()).unwrap_or(7);
                return Err(Sense::invalid_field(u16::try_from(index + 1).unwrap_or(0), Some(bit)));
            }
        }
        Ok(())
    }
}

/// All commands of a kind of unit: those of every unit, and its own.
pub(super) type CommandSet = [&'static [Command]; 2];

fn all(set: CommandSet) -> impl Iterator<Item = &'static Command> {
    set.into_iter().flatten()
}

/// Finds the command that a CDB is and checks its reserved bits.
pub(super) fn find(set: CommandSet, cdb: &[u8]) -> Result<&'static Command, Sense> {
    let operation_code = u8_at(cdb, 0);
    let action = u8_at(cdb, 1) & 0x1f;
    let mut same = all(set).filter(|command| command.operation_code == operation_code).peekable();
    if same.peek().is_none() {
        return Err(Sense::illegal(0x20, 0));
    }
    let command = same.find(|command| command.service_action.is_none_or(|known| known == action));
    let command = command.ok_or(Sense::invalid_field(1, Some(4)))?;
    if cdb.len() < command.len() {
        return Err(Sense::invalid_field(u16::try_from(cdb.len()).unwrap_or(0), None));
    }
    command.check(cdb)?;
    Ok(command)
}

/// Timeouts descriptor (SPC-4, table 292).
fn timeouts(command: &Command) -> Vec<u8> {
    let mut bytes = vec![0, 0x0a, 0, 0];
    // Nominal time unknown.
    bytes.extend(0_u32.to_be_bytes());
    bytes.extend(command.timeout_s.to_be_bytes());
    bytes
}

/// REPORT SUPPORTED OPERATION CODES (SPC-4, section 6.35): the reply.
pub(super) fn report_supported(set: CommandSet, cdb: &[u8]) -> Result<Vec<u8>, Sense> {
    let with_timeouts = u8_at(cdb, 2) & 0x80 != 0;
    let (operation_code, action) = (u8_at(cdb, 3), u16_at(cdb, 4));
    let known = || all(set).filter(move |command| command.operation_code == operation_code);
    let found = match u8_at(cdb, 2) & 7 {
        0 => return Ok(report_all(set, with_timeouts)),
        1 => {
            if known().any(|command| command.service_action.is_some()) {
                return Err(Sense::invalid_field(2, Some(2)));
            }
            known().next()
        }
        2 => {
            if known().any(|command| command.service_action.is_none()) {
                return Err(Sense::invalid_field(2, Some(2)));
            }
            known().find(|command| command.service_action.map(u16::from) == Some(action))
        }
        _ => return Err(Sense::invalid_field(2, Some(2))),
    };
    let Some(command) = found else {
        // Not supported.
        return Ok(vec![0, 1, 0, 0]);
    };
    let usage = command.usage_data();
    let len = u16::try_from(usage.len()).unwrap_or(0);
    let mut bytes = vec![0, 3 | u8::from(with_timeouts) << 7];
    bytes.extend(len.to_be_bytes());
    bytes.extend(usage);
    if with_timeouts {
        bytes.extend(timeouts(command));
    }
    Ok(bytes)
}

fn report_all(set: CommandSet, with_timeouts: bool) -> Vec<u8> {
    let mut commands: Vec<&Command> = all(set).collect();
    commands.sort_by_key(|command| (command.operation_code, command.service_action));
    let mut descriptors = Vec::new();
    for command in commands {
        let action = u16::from(command.service_action.unwrap_or(0));
        let len = u16::try_from(command.len()).unwrap_or(0);
        let flags = u8::from(with_timeouts) << 1 | u8::from(command.service_action.is_some());
        descriptors.extend([command.operation_code, 0]);
        descriptors.extend(action.to_be_bytes());
        descriptors.extend([0, flags]);
        descriptors.extend(len.to_be_bytes());
        if with_timeouts {
            descriptors.extend(timeouts(command));
        }
    }
    let len = u32::try_from(descriptors.len()).unwrap_or(0);
    let mut bytes = len.to_be_bytes().to_vec();
    bytes.append(&mut descriptors);
    bytes
}
