//! Access rules: one inline table a rule.

use pelton_broker::access::{Rule, Scope};
use pelton_mqtt::TopicFilter;
use toml::Spanned;
use toml::de::DeValue;

use super::nearest::nearest;
use super::value::{Wrong, quoted, shown};

/// The keys of a rule: name, whether it must be there, what it takes, what it means.
pub(crate) const RULE_KEYS: [(&str, bool, &str, &str); 5] = [
    ("effect", true, "\"allow\" or \"deny\"", "What the rule does when it matches."),
    ("action", false, "\"publish\", \"subscribe\" or \"both\" (default)", "What it is about."),
    (
        "filter",
        true,
        "a topic filter",
        "The topics it is about. A rule that allows must cover everything a subscription could bring; a rule that \
         denies matches as soon as the subscription could bring anything it forbids. `{client_id}` and `{user_name}` \
         as a whole level stand for the client's own. `#` and `+` in first place say nothing about topics that begin \
         with `$`. `=` in front means the topic or filter as it stands: `=#` is about a subscription to `#` and no \
         other.",
    ),
    ("client_id", false, "a pattern", "Only clients whose id fits; `*` stands for any run of characters."),
    ("user_name", false, "a pattern", "Only clients whose user name fits; clients without a name do not."),
];

/// Reads one rule.
pub(crate) fn read(value: &Spanned<DeValue<'_>>) -> Result<Rule, Vec<Wrong>> {
    let DeValue::Table(table) = value.get_ref() else {
        let text =
            format!("{} is not a rule: {{ effect = \"deny\", filter = \"a/#\" }} is one", shown(value));
        return Err(vec![(value.span(), text)]);
    };
    let mut wrongs = Vec::new();
    let mut rule =
        Rule { allow: false, scope: Scope::Both, client_id: None, user_name: None, filter: String::new() };
    for (name, must, allowed, _) in RULE_KEYS {
        let Some(item) = table.get(name) else {
            if must {
                wrongs.push((value.span(), format!("a rule needs `{name}`: {allowed}")));
            }
            continue;
        };
        let taken = item.get_ref().as_str().is_some_and(|text| set(&mut rule, name, text));
        if !taken {
            wrongs
                .push((item.span(), format!("{} is not allowed for `{name}`, only {allowed}", shown(item))));
        }
    }
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if RULE_KEYS.iter().all(|(known, ..)| *known != name) {
            let near = nearest(name, RULE_KEYS.iter().map(|(known, ..)| *known));
            let advice = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            wrongs.push((key.span(), format!("unknown key `{name}` in a rule{advice}")));
        }
    }
    if wrongs.is_empty() { Ok(rule) } else { Err(wrongs) }
}

/// Sets one key of a rule; `false` if the text is not allowed there.
fn set(rule: &mut Rule, name: &str, text: &str) -> bool {
    match (name, text) {
        ("effect", "allow") => rule.allow = true,
        ("effect", "deny") => rule.allow = false,
        ("action", "publish") => rule.scope = Scope::Publish,
        ("action", "subscribe") => rule.scope = Scope::Subscribe,
        ("action", "both") => rule.scope = Scope::Both,
        ("filter", _) if TopicFilter::new(text.strip_prefix('=').unwrap_or(text)).is_ok() => {
            rule.filter = text.to_owned()
        }
        ("client_id", _) => rule.client_id = Some(text.to_owned()),
        ("user_name", _) => rule.user_name = Some(text.to_owned()),
        _ => return false,
    }
    true
}

/// A rule as an inline table.
pub(crate) fn write(rule: &Rule) -> String {
    let effect = if rule.allow { "allow" } else { "deny" };
    let action = match rule.scope {
        Scope::Publish => "publish",
        Scope::Subscribe => "subscribe",
        Scope::Both => "both",
    };
    let mut out =
        format!("{{ effect = \"{effect}\", action = \"{action}\", filter = {}", quoted(&rule.filter));
    if let Some(pattern) = &rule.client_id {
        out.push_str(&format!(", client_id = {}", quoted(pattern)));
    }
    if let Some(pattern) = &rule.user_name {
        out.push_str(&format!(", user_name = {}", quoted(pattern)));
    }
    out.push_str(" }");
    out
}
