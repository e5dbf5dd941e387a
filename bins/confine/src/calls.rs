//! System calls: seccomp(2).
//!
//! A list of what is refused, not of what is allowed: the C library and the modules of the
//! name service call what they like, and mail must not stop when they are upgraded.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// Refused with EPERM, whatever their arguments.
const REFUSED: &[i64] = &[
    // Programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes: their memory, their descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // The kernel itself.
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_quotactl,
    // quotactl_fd.
    443,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_personality,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    // open_tree_attr.
    467,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_setns,
    libc::SYS_unshare,
    // Ways to files that are not paths.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_mknodat,
    // Modes, owners and attributes of files, which landlock does not guard; and truncate(2),
    // which it guards only in newer kernels. What the libc crate has no name for is by number,
    // the same on every architecture: fchmodat2, setxattrat, removexattrat, file_setattr.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    452,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    463,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    466,
    469,
    libc::SYS_truncate,
    // Keys, clocks, names.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    // Other users.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
];

/// Those that only this architecture has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_kexec_file_load,
    libc::SYS_lookup_dcookie,
    libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// On x86-64 the same calls have second numbers, of the x32 ABI.
#[cfg(target_arch = "x86_64")]
const SECOND_NUMBERS: &[i64] = &[0, 0x4000_0000];
#[cfg(not(target_arch = "x86_64"))]
const SECOND_NUMBERS: &[i64] = &[0];

/// Calls whose numbers in the x32 ABI are others altogether: execve, ptrace, kexec_load,
/// process_vm_readv, process_vm_writev, execveat.
#[cfg(target_arch = "x86_64")]
const X32_ONLY: &[i64] = &[
    0x4000_0208,
    0x4000_0209,
    0x4000_0210,
    0x4000_021b,
    0x4000_021c,
    0x4000_0221,
];
#[cfg(not(target_arch = "x86_64"))]
const X32_ONLY: &[i64] = &[];

/// ioctl's number there, which is another one, too.
#[cfg(target_arch = "x86_64")]
const X32_IOCTL: Option<i64> = Some(0x4000_0202);
#[cfg(not(target_arch = "x86_64"))]
const X32_IOCTL: Option<i64> = None;

/// A call that makes a file or folder.
struct Making {
    call: i64,
    /// Which argument is its mode.
    mode: u8,
    /// Which are its flags, where the mode counts only with some of them.
    flags: Option<u8>,
}

const MAKING: &[Making] = &[
    Making {
        call: libc::SYS_openat,
        mode: 3,
        flags: Some(2),
    },
    Making {
        call: libc::SYS_mkdirat,
        mode: 2,
        flags: None,
    },
    #[cfg(target_arch = "x86_64")]
    Making {
        call: libc::SYS_open,
        mode: 2,
        flags: Some(1),
    },
    #[cfg(target_arch = "x86_64")]
    Making {
        call: libc::SYS_creat,
        mode: 1,
        flags: None,
    },
    #[cfg(target_arch = "x86_64")]
    Making {
        call: libc::SYS_mkdir,
        mode: 1,
        flags: None,
    },
];

impl Making {
    /// One that would be set-user-ID or set-group-ID.
    fn privileged(&self) -> Result<Vec<SeccompRule>, BackendError> {
        // O_TMPFILE without the bit of O_DIRECTORY that it includes.
        let new_file = [libc::O_CREAT, libc::O_TMPFILE & !libc::O_DIRECTORY];
        let mut rules = Vec::new();
        for bit in [libc::S_ISUID, libc::S_ISGID] {
            let mode = has_bits(self.mode, bit)?;
            match self.flags {
                None => rules.push(SeccompRule::new(vec![mode])?),
                Some(flags) => {
                    for new in new_file {
                        let new = has_bits(flags, new.unsigned_abs())?;
                        rules.push(SeccompRule::new(vec![mode.clone(), new])?);
                    }
                }
            }
        }
        Ok(rules)
    }
}

fn has_bits(argument: u8, bits: u32) -> Result<SeccompCondition, BackendError> {
    let bits = u64::from(bits);
    let operator = SeccompCmpOp::MaskedEq(bits);
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, bits)
}

/// Families of sockets that are let through: mail, DNS, the log, and how the C library asks
/// for the addresses of this host.
const FAMILIES: [i32; 4] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];

/// Restricts this thread; says how.
pub(crate) fn restrict() -> Result<String, String> {
    let programs = programs().map_err(|error| error.to_string())?;
    for program in &programs {
        seccompiler::apply_filter(program).map_err(|error| error.to_string())?;
    }
    Ok("system calls by seccomp".into())
}

fn programs() -> Result<[BpfProgram; 2], BackendError> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut missing: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for second in SECOND_NUMBERS {
        for call in REFUSED.iter().chain(REFUSED_HERE) {
            refused.insert(call + second, Vec::new());
        }
        refused.insert(libc::SYS_clone + second, vec![no_thread()?]);
        let sockets = vec![other_family()?, other_netlink()?];
        refused.insert(libc::SYS_socket + second, sockets);
        refused.insert(libc::SYS_ioctl + second, typing()?);
        // Its arguments are in memory, which a filter can't read. The C library takes
        // clone(2) where this call is missing.
        missing.insert(libc::SYS_clone3 + second, Vec::new());
        missing.insert(libc::SYS_openat2 + second, Vec::new());
        for making in MAKING {
            refused.insert(making.call + second, making.privileged()?);
        }
    }
    refused.extend(X32_ONLY.iter().map(|call| (*call, Vec::new())));
    if let Some(ioctl) = X32_IOCTL {
        refused.insert(ioctl, typing()?);
    }
    let filter = |rules, errno: i32| {
        let refusal = SeccompAction::Errno(errno.unsigned_abs());
        SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch)?.try_into()
    };
    Ok([
        filter(missing, libc::ENOSYS)?,
        filter(refused, libc::EPERM)?,
    ])
}

/// A clone(2) that is no thread of this process.
fn no_thread() -> Result<SeccompRule, BackendError> {
    let mask = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let bit = SeccompCmpOp::MaskedEq(mask);
    SeccompRule::new(vec![SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        bit,
        0,
    )?])
}

fn other_family() -> Result<SeccompRule, BackendError> {
    let not = |family: i32| {
        let family = u64::from(family.unsigned_abs());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
    };
    SeccompRule::new(FAMILIES.map(not).into_iter().collect::<Result<_, _>>()?)
}

/// A socket to another part of the kernel than the one that tells the addresses of this host.
fn other_netlink() -> Result<SeccompRule, BackendError> {
    let condition = |argument: u8, operator: SeccompCmpOp, value: i32| {
        let value = u64::from(value.unsigned_abs());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
    };
    SeccompRule::new(vec![
        condition(0, SeccompCmpOp::Eq, libc::AF_NETLINK)?,
        condition(2, SeccompCmpOp::Ne, libc::NETLINK_ROUTE)?,
    ])
}

/// Octets put into a terminal as if somebody had typed them: whoever started this program by hand
/// has his shell there.
fn typing() -> Result<Vec<SeccompRule>, BackendError> {
    let all = [libc::TIOCSTI, libc::TIOCLINUX];
    let rules = all.into_iter().map(|request| {
        let condition =
            SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request)?;
        SeccompRule::new(vec![condition])
    });
    rules.collect()
}
