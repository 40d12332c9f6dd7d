//! What this host has for the way past the kernel, whatever the interface.

use pelton_afxdp::OpenError;

use super::profile::version;
use super::{Root, capability};

/// The host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// The kernel, as it names itself.
    pub(super) kernel: String,
    /// Cores this process may use.
    pub(super) cores: u32,
    /// Capabilities that are needed and lacking.
    pub(super) lacks: Vec<&'static str>,
    /// Whether there is AF_XDP; none if it cannot be known.
    pub(super) af_xdp: Option<bool>,
    /// Huge pages in all, free, and how large each is.
    pub(super) huge_pages: HugePages,
    /// Whether a BPF file system is where links are kept.
    pub(super) bpf_fs: bool,
}

/// Huge pages of the usual size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HugePages {
    pub(super) total: u64,
    pub(super) free: u64,
    pub(super) kib: u64,
}

/// The oldest kernel whose AF_XDP the broker uses: rings with `need_wakeup`.
const KERNEL_MIN: (u32, u32) = (5, 4);

impl Host {
    /// Looks at the host.
    pub(super) fn of(root: &Root) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let af_xdp = match pelton_afxdp::supported() {
            Ok(()) | Err(OpenError::NoPrivilege) => Some(true),
            Err(OpenError::NoAfXdp) => Some(false),
            Err(_) => None,
        };
        Self {
            kernel: root.read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            cores,
            lacks: capability::missing(root),
            af_xdp,
            huge_pages: huge_pages(&root.read("/proc/meminfo").unwrap_or_default()),
            bpf_fs: has_bpf_fs(&root.read("/proc/self/mounts").unwrap_or_default()),
        }
    }

    /// The first two numbers of the kernel's version.
    pub(super) fn version(&self) -> (u32, u32) {
        version(&self.kernel).unwrap_or((0, 0))
    }

    /// What no rung of AF_XDP can do without, and the way out.
    pub(super) fn missing(&self) -> Vec<(String, String)> {
        let mut missing = Vec::new();
        if self.version() < KERNEL_MIN {
            let (major, minor) = KERNEL_MIN;
            missing.push((
                format!("kernel {} is too old", self.kernel),
                format!("boot {major}.{minor} or newer"),
            ));
        }
        if self.af_xdp == Some(false) {
            missing.push((
                "this kernel has no AF_XDP".into(),
                "boot one with CONFIG_XDP_SOCKETS=y (grep XDP_SOCKETS /boot/config-$(uname -r))".into(),
            ));
        }
        if !self.lacks.is_empty() {
            let names = self.lacks.join(", ");
            missing.push((
                format!("no privilege: {names}"),
                "run as root, or: setcap cap_net_admin,cap_net_raw,cap_bpf=ep $(command -v pelton)".into(),
            ));
        }
        missing
    }
}

fn huge_pages(meminfo: &str) -> HugePages {
    let number = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
    };
    HugePages {
        total: number("HugePages_Total").unwrap_or(0),
        free: number("HugePages_Free").unwrap_or(0),
        kib: number("Hugepagesize").unwrap_or(0),
    }
}

fn has_bpf_fs(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some("/sys/fs/bpf") && words.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_the_way_out() {
        let host = Host {
            kernel: "4.19.0-5-amd64".into(),
            cores: 2,
            lacks: vec!["CAP_BPF"],
            af_xdp: Some(false),
            huge_pages: HugePages::default(),
            bpf_fs: false,
        };
        let missing = host.missing();
        assert_eq!(missing.len(), 3, "{missing:?}");
        assert!(missing[0].1.contains("5.4") && missing[1].1.contains("CONFIG_XDP_SOCKETS"));
        assert!(missing[2].0.contains("CAP_BPF") && missing[2].1.contains("setcap"));
        let well = Host { kernel: "6.1.0".into(), lacks: Vec::new(), af_xdp: Some(true), ..host };
        assert!(well.missing().is_empty());
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        let meminfo = "MemTotal: 9 kB\nHugePages_Total:      64\nHugePages_Free:       60\nHugePages_Rsvd: 0\n\
                       Hugepagesize:       2048 kB\n";
        assert_eq!(huge_pages(meminfo), HugePages { total: 64, free: 60, kib: 2048 });
        assert_eq!(huge_pages(""), HugePages::default());
        assert!(has_bpf_fs("proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw,mode=700 0 0\n"));
        assert!(!has_bpf_fs("bpf /tmp/bpf bpf rw 0 0\nsys /sys/fs/bpf tmpfs rw 0 0\n"));
    }
}
