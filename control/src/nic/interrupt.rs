//! The interrupts of a device's queues, and the cores that serve them: `/proc/interrupts`, `/proc/irq`.

use super::Root;

/// The number of the interrupt of each queue, by the name its driver gives it; none where there is no such name.
/// `pattern` has `{interface}`, `{device}` and `{queue}` for what they are.
pub(super) fn of_queues(
    root: &Root,
    pattern: &str,
    interface: &str,
    device: &str,
    queues: u32,
) -> Vec<Option<u32>> {
    let table = root.read("/proc/interrupts").unwrap_or_default();
    let lines: Vec<(u32, &str)> = table.lines().filter_map(numbered).collect();
    (0..queues)
        .map(|queue| {
            let wanted = pattern
                .replace("{interface}", interface)
                .replace("{device}", device)
                .replace("{queue}", &queue.to_string());
            lines.iter().find(|(_, name)| is_named(name, &wanted)).map(|&(number, _)| number)
        })
        .collect()
}

/// The number and the last word of a line.
fn numbered(line: &str) -> Option<(u32, &str)> {
    let (number, rest) = line.split_once(':')?;
    Some((number.trim().parse().ok()?, rest.split_whitespace().next_back()?))
}

/// Whether a name is the wanted one, or that with the driver's name before it.
fn is_named(name: &str, wanted: &str) -> bool {
    name.strip_suffix(wanted).is_some_and(|before| before.is_empty() || before.ends_with('-'))
}

/// The file that says which cores serve an interrupt.
pub(super) fn affinity_file(number: u32) -> String {
    format!("/proc/irq/{number}/smp_affinity_list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_several_drivers_are_found() {
        let folder = std::env::temp_dir().join(format!("pelton-interrupts-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("proc")).unwrap();
        let table = "           CPU0       CPU1\n \
             33:          0          0 PCI-MSIX-0000:00:05.0   0-edge      virtio4-config\n \
             38:          0      16259 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0\n \
             50:          0          1 PCI-MSI 1-edge      ice-eth1-TxRx-0\n \
             51:          0          1 PCI-MSI 2-edge      ice-eth1-TxRx-1\n \
             52:          0          1 PCI-MSI 3-edge      ice-eth11-TxRx-0\n \
             60:          0          1 PCI-MSI 3-edge      mlx5_comp1@pci:0000:3b:00.0\n\
             NMI:          0          0   Non-maskable interrupts\n";
        std::fs::write(folder.join("proc/interrupts"), table).unwrap();
        let root = Root::new(&folder);
        let of = |pattern, interface, device| of_queues(&root, pattern, interface, device, 2);
        assert_eq!(of("{interface}-TxRx-{queue}", "eth1", "x"), [Some(50), Some(51)]);
        assert_eq!(of("{interface}-TxRx-{queue}", "th1", "x"), [None, None]);
        assert_eq!(of("{device}-input.{queue}", "eth0", "virtio2"), [Some(38), None]);
        assert_eq!(of("mlx5_comp{queue}@pci:{device}", "eth0", "0000:3b:00.0"), [None, Some(60)]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
