//! Configuration: what is wrong is said with its place, what is right comes back.

use crate::running::{Running, Scratch, pelton, run, run_command};

/// Runs `check` on a file; the lines it wrote, without the path of the file.
fn check(name: &str, text: &str) -> (Option<i32>, Vec<String>) {
    let file = Scratch::file(name, text);
    let ended = run(&["check", "-c", file.path()]);
    let lines = ended.err.lines().map(|line| line.replace(file.path(), "FILE")).collect();
    (ended.code, lines)
}

#[test]
fn the_empty_file_is_a_valid_broker() {
    let file = Scratch::file("empty.toml", "");
    let ended = run(&["check", "-c", file.path()]);
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(0), "ok\n", ""));
}

#[test]
fn everything_that_is_wrong_is_said_with_its_place() {
    let (code, lines) = check(
        "wrong.toml",
        r#"[mqtt]
packt_bytes_max = 5
qos_max = 7
  inflight_max = "x"
[lisen]
tcp = []
[queue]
policy = "drop"
receive_maximum = 3
[access]
rules = [
  { effect = "deny", filtr = "a/#" },
  { effect = "allow", filter = "a/#/b" },
]
"#,
    );
    assert_eq!(code, Some(2));
    assert_eq!(
        lines,
        [
            "FILE:2:1: unknown key `packt_bytes_max` in [mqtt]; did you mean `packet_bytes_max`?",
            "FILE:3:11: `qos_max`: 7 is not allowed, only a whole number from 0 to 2",
            "FILE:4:18: `inflight_max`: \"x\" is not allowed, only a whole number from 1 to 65535",
            "FILE:5:2: unknown section [lisen]; did you mean [listen]?",
            "FILE:8:10: `policy`: \"drop\" is not allowed, only one of \"drop-oldest\", \"drop-newest\", \"disconnect\"",
            "FILE:9:1: unknown key `receive_maximum` in [queue]; it belongs to [mqtt]",
            "FILE:12:3: `rules`: a rule needs `filter`: a topic filter",
            "FILE:12:22: `rules`: unknown key `filtr` in a rule; did you mean `filter`?",
            "FILE:13:32: `rules`: \"a/#/b\" is not allowed for `filter`, only a topic filter",
        ]
    );
}

#[test]
fn what_stands_last_in_a_name_may_be_left_out() {
    let text = "[mqtt]\nkeep_alive = 1\nkeep_alive_mx = 1\n[session]\nexpiry_max = 1\nnonsense = 1\n";
    let (_, lines) = check("short.toml", text);
    let advice: Vec<&str> =
        lines.iter().filter_map(|line| line.split_once("; ")).map(|(_, said)| said).collect();
    assert_eq!(
        advice,
        [
            "did you mean `keep_alive_max_seconds`?",
            "did you mean `keep_alive_max_seconds`?",
            "did you mean `expiry_max_seconds`?",
            "[session] has expiry_max_seconds, expiry_v3_seconds, subscriptions_max",
        ]
    );
}

#[test]
fn broken_toml_is_said_with_its_place() {
    let (code, lines) = check("broken.toml", "[mqtt]\nqos_max = = 1\n");
    assert_eq!(code, Some(2));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("FILE:2:11: "), "{lines:?}");
    let (code, lines) = check("twice.toml", "[mqtt]\nqos_max = 1\nqos_max = 2\n");
    assert_eq!(code, Some(2));
    assert!(lines[0].starts_with("FILE:3:1: "), "{lines:?}");
}

#[test]
fn columns_are_characters() {
    let (_, lines) = check("characters.toml", "mqtt = { response_information = \"äöü\", nonsense = 1 }\n");
    assert!(lines[0].starts_with("FILE:1:40: unknown key `nonsense`"), "{lines:?}");
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_an_error() {
    let ended = run(&["check", "-c", "/nowhere/pelton.toml"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.starts_with("/nowhere/pelton.toml: cannot read it: "), "{}", ended.err);
    let file = Scratch::file("latin.toml", "");
    std::fs::write(file.path(), b"[mqtt]\n# \xe4\n").expect("it is ours");
    let ended = run(&["check", "-c", file.path()]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains(":2:3: the file is not UTF-8"), "{}", ended.err);
}

#[test]
fn keys_that_do_not_go_together() {
    let (code, lines) = check(
        "cores.toml",
        "[shards]\ncount = 2\ncores = [0, 1, 0]\n[listen]\ntcp = []\n[storage]\npath = \"\"\nbytes_max = 2000000\n",
    );
    assert_eq!(code, Some(2));
    assert_eq!(
        lines,
        [
            "[listen] tcp: at least one address is needed",
            "[shards] cores: 3 cores for 2 shards: one for each is needed",
            "[shards] cores: core 0 is there twice",
            "[storage] path: a directory is needed, or policy = \"memory\"",
            "[storage] map_bytes: it is larger than bytes_max",
        ]
    );
}

#[test]
fn the_environment_overrides_the_file() {
    let file = Scratch::file("file.toml", "[mqtt]\nqos_max = 0\nreceive_maximum = 7\n");
    let mut command = pelton(&["config", "dump", "-c", file.path()]);
    command
        .env("PELTON__MQTT__QOS_MAX", "1")
        .env("PELTON__QUEUE__POLICY", "disconnect")
        .env("PELTON__LISTEN__TCP", "127.0.0.1:1884, [::1]:1884")
        .env("PELTON__SESSION__EXPIRY_MAX_SECONDS", "never")
        .env("PELTON__MQTT__RESPONSE_INFORMATION", "say \"it\"")
        .env("PELTON__ACCESS__RULES", r#"[{ effect = "deny", filter = "secret/#" }]"#);
    let dump = run_command(&mut command).out;
    for line in [
        "qos_max = 1",
        "receive_maximum = 7",
        "policy = \"disconnect\"",
        "tcp = [\"127.0.0.1:1884\", \"[::1]:1884\"]",
        "expiry_max_seconds = \"never\"",
        "response_information = \"say \\\"it\\\"\"",
        "  { effect = \"deny\", action = \"both\", filter = \"secret/#\" },",
    ] {
        assert!(dump.lines().any(|found| found == line), "{line} is missing in {dump}");
    }
}

#[test]
fn a_wrong_variable_is_an_error() {
    let mut command = pelton(&["check"]);
    command
        .env("PELTON__MQTT__QOS_MAXX", "1")
        .env("PELTON__SYS__INTERVAL_SECONDS", "soon")
        .env("PELTON__SHARDS__COUNT", "65");
    let ended = run_command(&mut command);
    assert_eq!(ended.code, Some(2));
    assert_eq!(
        ended.err.lines().collect::<Vec<_>>(),
        [
            "PELTON__MQTT__QOS_MAXX: no key of that name; did you mean `PELTON__MQTT__QOS_MAX`?",
            "PELTON__SHARDS__COUNT: 65 is not allowed, only a whole number from 0 to 64",
            "PELTON__SYS__INTERVAL_SECONDS: `soon` is not allowed, only a whole number from 0 to 86400",
        ]
    );
}

/// Every key away from its default: what is dumped is a valid file, and says the same when it is read.
#[test]
fn a_dump_is_a_configuration_that_says_the_same() {
    let default = run(&["config", "dump"]).out;
    let mut section = String::new();
    let mut changed = String::new();
    let mut keys = 0;
    for line in default.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if line.starts_with('[') {
            section = line.to_owned();
            changed.push_str(&format!("{section}\n"));
            continue;
        }
        let (key, value) = line.split_once(" = ").expect("a key and its value");
        let other = match value {
            "true" => "false".to_owned(),
            "false" => "true".to_owned(),
            "\"never\"" => "7".to_owned(),
            "\"\"" => "'some \"text\"'".to_owned(),
            "\"drop-newest\"" => "\"drop-oldest\"".to_owned(),
            "\"round-robin\"" => "\"local-first\"".to_owned(),
            "\"commit\"" => "\"relaxed\"".to_owned(),
            "\"pelton-data\"" => "'some \"place\"'".to_owned(),
            "\"info\"" => "\"debug\"".to_owned(),
            "\"text\"" => "\"json\"".to_owned(),
            "[]" if key == "cores" => "[3]".to_owned(),
            "[]" => r#"[{ effect = "allow", action = "publish", filter = "a/{client_id}/+", client_id = "m-*", user_name = 'q"' }]"#.to_owned(),
            addresses if key == "tcp" => addresses.replace("1883", "0"),
            number => {
                let number: u64 = number.parse().unwrap_or_else(|_| panic!("{key} = {number} in {section}"));
                if number == 0 || number == 1 { number + 1 } else { number - 1 }.to_string()
            }
        };
        changed.push_str(&format!("{key} = {other}\n"));
        keys += 1;
    }
    assert!(keys > 40, "{keys} keys");
    let file = Scratch::file("changed.toml", &changed);
    let first = run(&["config", "dump", "-c", file.path()]);
    assert_eq!(first.code, Some(0), "{}", first.err);
    for line in changed.lines().filter(|line| !line.contains('\'') && !line.contains('{')) {
        assert!(first.out.lines().any(|found| found == line), "{line} is missing in {}", first.out);
    }
    let again = Scratch::file("again.toml", &first.out);
    assert_eq!(run(&["check", "-c", again.path()]).out, "ok\n");
    assert_eq!(run(&["config", "dump", "-c", again.path()]).out, first.out);
}

#[test]
fn serve_with_a_bad_configuration_starts_nothing() {
    let file = Scratch::file("serve.toml", "[mqtt]\nqos_max = 3\n");
    let ended = run(&["serve", "--bind", "127.0.0.1:0", "-c", file.path()]);
    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    assert_eq!(run(&["serve", "--bind", "nowhere"]).code, Some(2));
    assert_eq!(run(&["serve", "--shards", "65"]).code, Some(2));
}

#[test]
fn rules_are_obeyed_by_the_broker() {
    let file =
        Scratch::file("rules.toml", "[access]\nrules = [{ effect = \"deny\", filter = \"secret/#\" }]\n");
    let broker = Running::start(&["-c", file.path()]);
    let mut client = crate::client::Client::connect(broker.address, pelton_mqtt::Version::V5, "c");
    assert_eq!(client.subscribe("secret/x"), 0x87);
    assert_eq!(client.subscribe("open/x"), 0);
}

#[test]
fn what_is_wrong_with_an_interface_is_said_with_its_place() {
    let (code, lines) = check(
        "interfaces.toml",
        r#"[[interface]]
name = "tap0"
mode = "tup"
adresses = []
[[interface]]
mode = "tap"
name = "tap0#"
addresses = ["10.0.0.0/8", "10.0.0.2", 7]
[[interface]]
name = "tap1"
mode = "tap"
addresses = ["10.0.0.2/8"]
ports = [0]
mtu = 100
frames = "x"
[interfce]
"#,
    );
    assert_eq!(code, Some(2));
    assert_eq!(
        lines,
        [
            "FILE:3:8: `mode`: \"tup\" is not allowed, only \"auto\", \"zero-copy\", \"copy\", \"generic\" or \"tap\"",
            "FILE:4:1: unknown key `adresses` in [[interface]]; did you mean `addresses`?",
            "FILE:7:8: `name`: \"tap0#\" is not allowed, only the name of an interface, at most 15 bytes",
            "FILE:8:14: `addresses`: 10.0.0.0/8 is not the address of a host in its network",
            "FILE:13:10: `ports`: 0 is not allowed, only a list of whole numbers from 1 to 65535",
            "FILE:14:7: `mtu`: 100 is not allowed, only 0, or a whole number from 576 to 9000",
            "FILE:15:10: `frames`: \"x\" is not allowed, only a whole number from 256 to 65536",
            "FILE:16:2: unknown section [interfce]; there are listen, tcp, shards, mqtt, storage, session, queue, \
             retained, shared, access, sys, shutdown, log and [[interface]]",
        ]
    );
    let (code, lines) = check("table.toml", "[interface]\nname = \"tap0\"\n");
    assert_eq!((code, lines.len()), (Some(2), 1), "{lines:?}");
    assert!(lines[0].contains("write [[interface]]"), "{lines:?}");
    let twice = "[[interface]]\nname = \"tap0\"\nmode = \"tap\"\naddresses = [\"10.0.0.2/8\", \"10.0.0.2/9\"]\n\
                 [[interface]]\nname = \"tap0\"\nmode = \"tap\"\n";
    let (code, lines) = check("twice.toml", twice);
    assert_eq!(code, Some(2));
    assert_eq!(
        lines,
        [
            "[[interface]] tap0: address 10.0.0.2 is there twice",
            "[[interface]] tap0: it is there twice",
            "[[interface]] tap0: an address is needed, one that no other host has: addresses = [\"192.0.2.7/24\"], or \
             --interface tap:tap0=192.0.2.7/24",
        ]
    );
}

#[test]
fn an_interface_comes_back_as_it_was_written() {
    let text = "[[interface]]\nname = \"tap0\"\nmode = \"tap\"\nrequire = true\n\
                addresses = [\"10.0.0.2/8\", \"fd00::2/64\"]\nports = [1883, 1884]\nmtu = 1400\nframes = 512\n\
                ring_entries = 1024\nbusy_poll_us = 50\nbusy_poll_budget = 8\nsyns_per_second = 7\nsyns_per_prefix = 3\n\
                block = [\"203.0.113.0/24\"]\nallow = [\"192.0.2.0/24\"]\non_exit = \"hold\"\n";
    let file = Scratch::file("interface.toml", text);
    let dumped = run(&["config", "dump", "-c", file.path()]);
    assert!(dumped.out.ends_with(text), "{}", dumped.out);
    let again = Scratch::file("interface-again.toml", &dumped.out);
    assert_eq!(run(&["config", "dump", "-c", again.path()]).out, dumped.out);
}

#[test]
fn an_interface_that_cannot_be_served_is_refused_with_the_way_out() {
    let serve = |more: &[&str]| {
        let mut command = pelton(&["serve", "--bind", "127.0.0.1:18830"]);
        command.env("PELTON__STORAGE__POLICY", "memory").args(more);
        run_command(&mut command)
    };
    let missing = serve(&["--interface", "tap:no-such-0=192.0.2.7/24"]);
    assert_eq!(missing.code, Some(1), "{}", missing.err);
    assert!(missing.err.contains("ip tuntap add dev no-such-0 mode tap"), "{}", missing.err);
    let bad = serve(&["--interface", "tap:no-such-0=192.0.2.7"]);
    assert_eq!(bad.code, Some(2), "{}", bad.err);
    assert!(bad.err.contains("\"192.0.2.7\" is no \"ADDRESS/PREFIX\""), "{}", bad.err);
    let none = serve(&["--interface", "tap:no-such-0"]);
    assert_eq!(none.code, Some(2), "{}", none.err);
    assert!(none.err.contains("[[interface]] no-such-0: an address is needed"), "{}", none.err);
}
