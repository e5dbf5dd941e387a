//! The exit codes of BSD's sysexits(3), which every mail program shares.
//!
//! One list for all programs, so that a code is chosen by name and its meaning
//! stands beside it.

use std::process::ExitCode;

/// How a program ended, with the number that sysexits(3) gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SysExit {
    /// Success.
    Ok = 0,
    /// The command line could not be understood.
    Usage = 64,
    /// The input data was wrong: a bad source line, a duplicate LHS.
    DataErr = 65,
    /// An input file did not exist or could not be read.
    NoInput = 66,
    /// The named user is unknown.
    NoUser = 67,
    /// The named host is unknown.
    NoHost = 68,
    /// What was asked for is not there: an absent LHS.
    Unavailable = 69,
    /// A fault of the program itself.
    Software = 70,
    /// The operating system failed us: no fork, no pipe.
    OsErr = 71,
    /// A system file is missing or wrong.
    OsFile = 72,
    /// An output file could not be made or opened.
    CantCreate = 73,
    /// Reading or writing a file failed half-way.
    IoErr = 74,
    /// Trying again later may help.
    TempFail = 75,
    /// The peer broke the protocol.
    Protocol = 76,
    /// Permission denied.
    NoPerm = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl SysExit {
    /// Every one of them.
    pub const ALL: [SysExit; 16] = [
        SysExit::Ok,
        SysExit::Usage,
        SysExit::DataErr,
        SysExit::NoInput,
        SysExit::NoUser,
        SysExit::NoHost,
        SysExit::Unavailable,
        SysExit::Software,
        SysExit::OsErr,
        SysExit::OsFile,
        SysExit::CantCreate,
        SysExit::IoErr,
        SysExit::TempFail,
        SysExit::Protocol,
        SysExit::NoPerm,
        SysExit::Config,
    ];

    /// The number that the parent process sees.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The one of this number.
    #[must_use]
    pub fn of_code(code: i32) -> Option<Self> {
        let mut all = SysExit::ALL.into_iter();
        all.find(|exit| i32::from(exit.code()) == code)
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(self, SysExit::TempFail | SysExit::IoErr | SysExit::OsErr)
    }
}

impl From<SysExit> for ExitCode {
    fn from(exit: SysExit) -> Self {
        ExitCode::from(exit.code())
    }
}
