//! The packages of the workspace as `cargo metadata` tells them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use pelton_tests::repository;
use serde_json::Value;

/// One package of the workspace.
pub(crate) struct Package {
    /// Its folder, from the top of the repository.
    pub(crate) folder: String,
    pub(crate) name: String,
    /// Folders of the workspace's packages it uses outside of its tests.
    pub(crate) uses: BTreeSet<String>,
    /// Packages from elsewhere it names itself, outside of its tests.
    pub(crate) names: BTreeSet<String>,
    /// All packages that end up in it, outside of tests, itself left out.
    pub(crate) contains: BTreeSet<String>,
    /// Root files of its libraries and binaries.
    pub(crate) roots: Vec<PathBuf>,
}

/// All packages of the workspace.
pub(crate) fn packages() -> Vec<Package> {
    let metadata = metadata();
    let entries = array(&metadata["packages"]);
    let by_id: BTreeMap<&str, &Value> = entries.iter().map(|entry| (text(&entry["id"]), entry)).collect();
    let edges: BTreeMap<&str, Vec<&str>> =
        array(&metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), used_by(node))).collect();
    let members: Vec<&str> = array(&metadata["workspace_members"]).iter().map(text).collect();
    let folders: BTreeMap<&str, String> = members.iter().map(|&id| (id, folder(by_id[id]))).collect();
    members
        .iter()
        .map(|&id| {
            let direct = &edges[id];
            Package {
                folder: folders[id].clone(),
                name: text(&by_id[id]["name"]).to_owned(),
                uses: direct.iter().filter_map(|used| folders.get(used).cloned()).collect(),
                names: direct
                    .iter()
                    .filter(|used| !folders.contains_key(*used))
                    .map(|used| text(&by_id[used]["name"]).to_owned())
                    .collect(),
                contains: closure(id, &edges)
                    .iter()
                    .map(|used| text(&by_id[used]["name"]).to_owned())
                    .collect(),
                roots: roots(by_id[id]),
            }
        })
        .collect()
}

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let host = Command::new("rustc").arg("-vV").output().expect("rustc is there");
    let host = String::from_utf8(host.stdout).expect("rustc speaks UTF-8");
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc knows its host");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host])
        .current_dir(repository())
        .output()
        .expect("cargo is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata speaks JSON")
}

/// The packages a node of the graph uses when it is built, tests left out.
fn used_by(node: &Value) -> Vec<&str> {
    array(&node["deps"])
        .iter()
        .filter(|dependency| {
            array(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].as_str() != Some("dev"))
        })
        .map(|dependency| text(&dependency["pkg"]))
        .collect()
}

fn closure<'a>(id: &'a str, edges: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        open.extend(edges[id].iter().filter(|used| reached.insert(**used)));
    }
    reached
}

fn folder(package: &Value) -> String {
    let manifest = Path::new(text(&package["manifest_path"]));
    let folder =
        manifest.parent().and_then(|folder| folder.canonicalize().ok()).expect("a manifest is in a folder");
    pelton_tests::relative(&folder)
}

fn roots(package: &Value) -> Vec<PathBuf> {
    array(&package["targets"])
        .iter()
        .filter(|target| {
            array(&target["kind"]).iter().any(|kind| matches!(text(kind), "lib" | "bin" | "proc-macro"))
        })
        .map(|target| PathBuf::from(text(&target["src_path"])))
        .collect()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
