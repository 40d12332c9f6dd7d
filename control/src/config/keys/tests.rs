//! What must hold for every key.

use pelton_broker::access::{Rule, Scope};

use super::*;
use crate::config::value::{Kind, Value};

/// A value of the kind that is not this one.
fn another(kind: &Kind, value: &Value) -> Value {
    match (kind, value) {
        (_, Value::Bool(flag)) => Value::Bool(!flag),
        (Kind::Integer { max, .. }, Value::Integer(number)) if number == max => Value::Integer(number - 1),
        (Kind::SecondsOrNever, Value::Integer(_)) => Value::Integer(7),
        (_, Value::Integer(number)) => Value::Integer(number + 1),
        (Kind::Choice(words), Value::Text(text)) => {
            let other = words.iter().find(|word| *word != text).expect("there is a choice");
            Value::Text((*other).to_owned())
        }
        (_, Value::Text(text)) => Value::Text(format!("{text}x")),
        (_, Value::Addresses(list)) => Value::Addresses(list[1..].to_vec()),
        (_, Value::Integers(list)) => Value::Integers([list.as_slice(), &[1]].concat()),
        (_, Value::Rules(_)) => {
            let filter = "a".to_owned();
            Value::Rules(vec![Rule {
                allow: true,
                scope: Scope::Both,
                client_id: None,
                user_name: None,
                filter,
            }])
        }
    }
}

#[test]
fn what_is_set_is_what_is_got() {
    for key in KEYS {
        let mut config = Config::default();
        let other = another(&key.field.kind, &(key.field.get)(&config));
        (key.field.set)(&mut config, other.clone());
        assert_eq!((key.field.get)(&config), other, "{}", key.name);
        // It went to its own place: no other key saw it.
        for untouched in KEYS.iter().filter(|other| !std::ptr::eq(*other, key)) {
            assert_eq!(untouched.written(&config), untouched.written(&Config::default()), "{}", key.name);
        }
    }
}

/// The broker's settings as lines, a field each.
fn fields(config: &Config) -> Vec<String> {
    format!("{:#?}\n{:#?}", config.broker, config.storage.memory).lines().map(str::to_owned).collect()
}

#[test]
fn every_setting_of_the_broker_has_a_key() {
    let mut config = Config::default();
    let defaults = fields(&config);
    for key in KEYS {
        let other = another(&key.field.kind, &(key.field.get)(&config));
        (key.field.set)(&mut config, other);
    }
    let changed = fields(&config);
    // Nobody can be asked yet; the storage is put in from its own section.
    let known = ["ask: false", "storage: None", "Settings {", "Storage {", "access: Access {", "}", "},"];
    for line in defaults.iter().map(|line| line.trim().trim_end_matches(',')) {
        let same = changed.iter().any(|other| other.trim().trim_end_matches(',') == line);
        assert!(!same || known.contains(&line), "`{line}` has no key in KEYS");
    }
}

#[test]
fn names_sections_and_defaults_are_in_order() {
    for (i, key) in KEYS.iter().enumerate() {
        assert!(SECTIONS.iter().any(|section| section.name == key.section), "{}", key.section);
        let twice = KEYS[..i].iter().any(|other| (other.section, other.name) == (key.section, key.name));
        assert!(!twice, "{} {}", key.section, key.name);
        // A default that is out of its own range could not be written down.
        let written = format!("value = {}", key.written(&Config::default()));
        let table = toml::de::DeTable::parse(&written).expect("TOML");
        let value = table.get_ref().get("value").expect("it is there");
        assert_eq!(key.field.kind.read(value), Ok((key.field.get)(&Config::default())), "{}", key.name);
    }
    for section in SECTIONS {
        assert!(KEYS.iter().any(|key| key.section == section.name), "{} is empty", section.name);
    }
}
