use super::*;
use proptest::prelude::*;

fn name(text: &str) -> Result<&str, Violation> {
    RawTopic::new(text.as_bytes()).check().map(TopicName::as_str).map_err(DecodeError::rule)
}

fn filter(text: &str) -> Result<TopicFilter<'_>, Violation> {
    TopicFilter::new(text).map_err(DecodeError::rule)
}

fn filter_rule(text: &str) -> Option<Violation> {
    filter(text).err()
}

/// covers [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT-4.7.3-1] [MQTT-4.7.3-2] [MQTT311-3.3.2-2] [MQTT311-4.7.3-1]
#[test]
fn topic_names() {
    for good in ["a", "/", "a/b", "/a", "a/", "a//b", "$SYS/x", "a b", "ü/ß", "\u{FEFF}", "$share/g/a"] {
        assert_eq!(name(good), Ok(good));
    }
    assert_eq!(name(""), Err(Violation::TopicEmpty));
    for bad in ["#", "a/#", "+", "a/+/b", "a+", "#a", "longer than sixteen bytes/+"] {
        assert_eq!(name(bad), Err(Violation::TopicWildcard), "{bad}");
    }
    assert_eq!(name("a\0"), Err(Violation::StringHasNull));
    assert_eq!(TopicName::new("a\0").unwrap_err().rule(), Violation::StringHasNull);
    assert_eq!(format!("{:?}", RawTopic::new(b"a\xFF")), "RawTopic(a\\xff)");
    assert_eq!(RawTopic::new(b"\xC0\x80").check().unwrap_err().rule(), Violation::StringNotUtf8);
}

/// covers [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT311-4.7.1-2] [MQTT311-4.7.1-3] [MQTT311-4.7.3-1]
#[test]
fn topic_filters() {
    for good in
        ["#", "+", "/", "a/#", "/#", "+/+", "+/a/#", "/+", "a/+/b", "a//b", "$SYS/#", "$share", "$shared/x"]
    {
        assert_eq!(filter(good).map(TopicFilter::as_str), Ok(good));
    }
    assert_eq!(filter_rule(""), Some(Violation::FilterEmpty));
    for bad in ["#/", "#/a", "a/#/b", "a#", "#a", "a/b#", "##", "+#"] {
        assert_eq!(filter_rule(bad), Some(Violation::FilterMultiLevelWildcard), "{bad}");
    }
    for bad in ["a+", "+a", "++", "a/+b/c", "b+/c"] {
        assert_eq!(filter_rule(bad), Some(Violation::FilterSingleLevelWildcard), "{bad}");
    }
    assert_eq!(filter_rule("a\0"), Some(Violation::StringHasNull));
}

/// covers [MQTT-4.8.2-1] [MQTT-4.8.2-2]
#[test]
fn shared_filters() {
    for (text, group, inner) in [
        ("$share/g/a/+", "g", "a/+"),
        ("$share/g//", "g", "/"),
        ("$share/g/#", "g", "#"),
        ("$share/ü/a", "ü", "a"),
    ] {
        let shared = filter(text).unwrap().shared().unwrap();
        assert_eq!((shared.group, shared.filter.as_str()), (group, inner));
        assert_eq!(filter(text).unwrap().matched_part(), inner);
        assert_eq!(SharedFilter::parse(RawFilter::new(text).unwrap()), Ok(Some(shared)));
    }
    for bad in ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a", "$share//"] {
        assert_eq!(filter_rule(bad), Some(Violation::FilterShareForm), "{bad}");
    }
    // Behind the share name the usual grammar holds.
    assert_eq!(filter_rule("$share/g/a#"), Some(Violation::FilterMultiLevelWildcard));
    assert_eq!(filter_rule("$share/g/+a"), Some(Violation::FilterSingleLevelWildcard));
    assert_eq!(filter("a/b").unwrap().shared(), None);
    assert_eq!(SharedFilter::parse(RawFilter::new("a/b").unwrap()), Ok(None));
    // One prefix is the share's, a second is part of the filter.
    let nested = filter("$share/g/$share/h/a").unwrap().shared().unwrap().filter;
    assert_eq!((nested.as_str(), nested.shared()), ("$share/h/a", None));
}

#[test]
fn wildcards_and_levels_are_those_of_the_matched_part() {
    assert!(!filter("a/b").unwrap().has_wildcards());
    assert!(filter("$share/g/a/+").unwrap().has_wildcards());
    assert_eq!(filter("$share/g/a//#").unwrap().levels().collect::<Vec<_>>(), ["a", "", "#"]);
    assert_eq!(TopicName::new("/a/").unwrap().levels().collect::<Vec<_>>(), ["", "a", ""]);
}

/// covers [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.2-1] [MQTT-4.7.3-4] [MQTT311-4.7.2-1]
#[test]
fn matching() {
    let table = [
        ("a/b/c", "a/b/c", true),
        ("a/b/c", "a/b", false),
        ("a/b", "a/b/c", false),
        ("A/b", "a/b", false),
        ("a/b/#", "a/b", true),
        ("a/b/#", "a/b/", true),
        ("a/b/#", "a/b/c/d", true),
        ("a/b/#", "a/bc", false),
        ("a/b/#", "a", false),
        ("#", "a", true),
        ("#", "/", true),
        ("#", "a/b/c", true),
        ("+", "a", true),
        ("+", "/a", false),
        ("+/+", "/a", true),
        ("/+", "/a", true),
        ("+", "a/b", false),
        ("a/+", "a", false),
        ("a/+", "a/", true),
        ("a/+", "a/b", true),
        ("a/+", "a/b/c", false),
        ("a/+/c", "a/b/c", true),
        ("a/+/c", "a//c", true),
        ("+/b/#", "a/b", true),
        ("+/b/#", "a/c", false),
        ("a/", "a", false),
        ("#", "$SYS/a", false),
        ("+/a", "$SYS/a", false),
        ("+/#", "$SYS/a", false),
        ("$SYS/#", "$SYS/a", true),
        ("$SYS/+", "$SYS/a", true),
        ("$SYS/#", "$SYS", true),
        ("a/#", "a/$b", true),
        ("a/+", "a/$b", true),
        ("$share/g/a/#", "a/b", true),
        ("$share/g/#", "$SYS/a", false),
        ("$share/g/$SYS/#", "$SYS/a", true),
        ("é", "e\u{301}", false),
    ];
    for (text, topic, expected) in table {
        let topic_name = TopicName::new(topic).unwrap();
        assert_eq!(filter(text).unwrap().matches(topic_name), expected, "{text} {topic}");
    }
}

/// The same meaning said recursively, on lists of levels.
fn matches_levels(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        ([], []) => true,
        (["#"], _) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches_levels(filter, topic),
        ([level, filter @ ..], [name, topic @ ..]) => level == name && matches_levels(filter, topic),
        _ => false,
    }
}

proptest! {
    /// covers [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.2-1]
    #[test]
    fn matching_agrees_with_the_recursive_definition(text in "[ab+#$/]{1,7}", topic in "[$]?[ab/]{1,7}") {
        if let (Ok(filter), Ok(topic)) = (TopicFilter::new(&text), TopicName::new(&topic)) {
            let levels: Vec<_> = text.split('/').collect();
            let names: Vec<_> = topic.as_str().split('/').collect();
            let hidden = topic.as_str().starts_with('$') && text.starts_with(['+', '#']);
            prop_assert_eq!(filter.matches(topic), !hidden && matches_levels(&levels, &names));
        }
    }

    /// A filter without wildcards matches its own text and nothing else.
    #[test]
    fn a_plain_filter_matches_itself_alone(text in "[ab$/]{1,7}", other in "[ab$/]{1,7}") {
        let filter = TopicFilter::new(&text).unwrap();
        prop_assert!(!filter.has_wildcards());
        prop_assert!(filter.matches(TopicName::new(&text).unwrap()));
        prop_assert_eq!(filter.matches(TopicName::new(&other).unwrap()), text == other);
    }
}
