//! The program as it was built: `ebpf/prebuilt`. A plain build needs no BPF compiler.

/// The ELF object of the program.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/pelton-xdp.o");
