//! Passes on the target the binary is built for, which only build scripts are told.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=PELTON_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}
