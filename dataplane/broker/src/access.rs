//! Who may connect, publish and subscribe.
//!
//! Every decision is [`Decision::Allow`], [`Decision::Deny`] or [`Decision::Pending`]: whoever decides may be
//! elsewhere (a password hash on another thread, a service over HTTP). While a decision is pending the
//! packet stays unconsumed in front of its connection, so that nothing has to be kept half done; it is
//! looked at again when the answer is there.
//!
//! What decides today is a list of rules, first match wins.

use pelton_mqtt::{Connect, ReasonCode};

/// The outcome of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Refuse, with the reason the client is told.
    Deny(ReasonCode),
    /// Not known yet: an answer follows.
    Pending,
}

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish to a topic.
    Publish,
    /// Subscribe to a filter.
    Subscribe,
}

/// The questions a packet raised with somebody else, and the answers so far. The packet is looked at anew
/// when an answer is there, and finds the answers in the order of its questions.
#[derive(Debug, Default)]
pub(crate) struct Question {
    /// The question that is open; an answer to an older one is ignored.
    pub(crate) ticket: Option<u64>,
    pub(crate) answers: Vec<Decision>,
    /// How many the present look at the packet has used.
    pub(crate) used: usize,
}

/// Which actions a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Publishing.
    Publish,
    /// Subscribing.
    Subscribe,
    /// Both.
    Both,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Allow or deny.
    pub allow: bool,
    /// What it is about.
    pub scope: Scope,
    /// Only clients whose id fits this pattern (`*` for any run of characters); none for all.
    pub client_id: Option<String>,
    /// Only clients whose user name fits this pattern; none for all, also those without a name.
    pub user_name: Option<String>,
    /// The topic filter. `{client_id}` and `{user_name}` as a whole level stand for the client's own. With `=`
    /// in front, the topic or filter as it stands: `=#` is about a subscription to `#` and no other.
    pub filter: String,
}

/// Who decides.
#[derive(Clone, Debug)]
pub struct Access {
    /// In order, first match wins.
    pub rules: Vec<Rule>,
    /// What happens when no rule matches.
    pub default_allow: bool,
    /// Every CONNECT, and every publish and subscription no rule decides, is asked of somebody else.
    pub ask: bool,
}

impl Default for Access {
    fn default() -> Self {
        Self { rules: Vec::new(), default_allow: true, ask: false }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The client id.
    pub client_id: &'a str,
    /// The user name it connected with.
    pub user_name: Option<&'a str>,
}

impl Access {
    /// Whether every publish is allowed, so that the hot path need not ask.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.rules.is_empty() && self.default_allow && !self.ask
    }

    /// May a client connect? Credentials are not looked at by rules.
    pub fn connect(&self, _connect: &Connect<'_>) -> Decision {
        if self.ask { Decision::Pending } else { Decision::Allow }
    }

    /// May a client publish to a topic, or subscribe to a filter (without its `$share/group/`)?
    pub fn check(&self, action: Action, who: Who<'_>, name: &str) -> Decision {
        for rule in &self.rules {
            if rule.decides(action, who, name) {
                return if rule.allow { Decision::Allow } else { Decision::Deny(ReasonCode::NotAuthorized) };
            }
        }
        if self.ask {
            Decision::Pending
        } else if self.default_allow {
            Decision::Allow
        } else {
            Decision::Deny(ReasonCode::NotAuthorized)
        }
    }
}

impl Rule {
    /// Whether the rule has a say. A rule that allows must cover all that a subscription could bring; a rule
    /// that denies decides as soon as the subscription could bring anything it forbids.
    fn decides(&self, action: Action, who: Who<'_>, name: &str) -> bool {
        let in_scope = match self.scope {
            Scope::Both => true,
            Scope::Publish => action == Action::Publish,
            Scope::Subscribe => action == Action::Subscribe,
        };
        if !in_scope
            || self.client_id.as_deref().is_some_and(|pattern| !fits(pattern, who.client_id))
            || self
                .user_name
                .as_deref()
                .is_some_and(|pattern| who.user_name.is_none_or(|name| !fits(pattern, name)))
        {
            return false;
        }
        if let Some(exact) = self.filter.strip_prefix('=') {
            return name == exact;
        }
        let rule: Option<Vec<Level<'_>>> =
            self.filter.split('/').map(|level| Level::of_rule(level, who)).collect();
        // A rule about the client's own name is none for a client without one.
        let Some(rule) = rule else { return false };
        let asked: Vec<Level<'_>> = name.split('/').map(|level| Level::of_name(level, action)).collect();
        if self.allow { covers(&rule, &asked) } else { overlaps(&rule, &asked) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level<'a> {
    Literal(&'a str),
    Any,
    Rest,
}

impl<'a> Level<'a> {
    fn of_rule(level: &'a str, who: Who<'a>) -> Option<Self> {
        Some(match level {
            "+" => Self::Any,
            "#" => Self::Rest,
            "{client_id}" => Self::Literal(who.client_id),
            "{user_name}" => Self::Literal(who.user_name?),
            _ => Self::Literal(level),
        })
    }

    fn of_name(level: &'a str, action: Action) -> Self {
        match level {
            "+" if action == Action::Subscribe => Self::Any,
            "#" if action == Action::Subscribe => Self::Rest,
            _ => Self::Literal(level),
        }
    }
}

/// A filter that begins with a wildcard says nothing about topics that begin with `$` [MQTT-4.7.2-1].
fn is_apart(filter: &[Level<'_>], other: &[Level<'_>]) -> bool {
    matches!(filter.first(), Some(Level::Any | Level::Rest))
        && matches!(other.first(), Some(Level::Literal(level)) if level.starts_with('$'))
}

/// Whether every topic that `asked` matches is matched by `rule`.
fn covers(rule: &[Level<'_>], asked: &[Level<'_>]) -> bool {
    if is_apart(rule, asked) {
        return false;
    }
    let mut i = 0;
    loop {
        match (rule.get(i), asked.get(i)) {
            (Some(Level::Rest), _) => return true,
            (None, None) => return true,
            (Some(Level::Any), Some(Level::Any | Level::Literal(_))) => {}
            (Some(Level::Literal(a)), Some(Level::Literal(b))) if a == b => {}
            _ => return false,
        }
        i += 1;
    }
}

/// Whether some topic is matched by both.
fn overlaps(rule: &[Level<'_>], asked: &[Level<'_>]) -> bool {
    if is_apart(rule, asked) || is_apart(asked, rule) {
        return false;
    }
    let mut i = 0;
    loop {
        match (rule.get(i), asked.get(i)) {
            (Some(Level::Rest), _) | (_, Some(Level::Rest)) | (None, None) => return true,
            (Some(Level::Literal(a)), Some(Level::Literal(b))) if a != b => return false,
            (Some(_), Some(_)) => {}
            _ => return false,
        }
        i += 1;
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any run of characters.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Who<'_> = Who { client_id: "meter-7", user_name: Some("ann") };

    fn rule(allow: bool, scope: Scope, filter: &str) -> Rule {
        Rule { allow, scope, client_id: None, user_name: None, filter: filter.to_owned() }
    }

    fn access(rules: Vec<Rule>, default_allow: bool) -> Access {
        Access { rules, default_allow, ask: false }
    }

    const DENIED: Decision = Decision::Deny(ReasonCode::NotAuthorized);

    #[test]
    fn the_first_match_wins() {
        let access = access(
            vec![
                rule(true, Scope::Publish, "a/ok"),
                rule(false, Scope::Both, "a/#"),
                rule(true, Scope::Both, "#"),
            ],
            false,
        );
        assert_eq!(access.check(Action::Publish, WHO, "a/ok"), Decision::Allow);
        assert_eq!(access.check(Action::Publish, WHO, "a/other"), DENIED);
        assert_eq!(access.check(Action::Publish, WHO, "b"), Decision::Allow);
        assert_eq!(access.check(Action::Subscribe, WHO, "a/ok"), DENIED);
    }

    #[test]
    fn a_subscription_must_be_covered_to_be_allowed_and_only_touched_to_be_denied() {
        let allowed = access(vec![rule(true, Scope::Subscribe, "a/+")], false);
        assert_eq!(allowed.check(Action::Subscribe, WHO, "a/+"), Decision::Allow);
        assert_eq!(allowed.check(Action::Subscribe, WHO, "a/b"), Decision::Allow);
        assert_eq!(allowed.check(Action::Subscribe, WHO, "a/#"), DENIED);
        assert_eq!(allowed.check(Action::Subscribe, WHO, "#"), DENIED);
        let denied = access(vec![rule(false, Scope::Subscribe, "secret/+")], true);
        assert_eq!(denied.check(Action::Subscribe, WHO, "#"), DENIED);
        assert_eq!(denied.check(Action::Subscribe, WHO, "+/x"), DENIED);
        assert_eq!(denied.check(Action::Subscribe, WHO, "secret/a/b"), Decision::Allow);
        assert_eq!(denied.check(Action::Publish, WHO, "secret/a"), Decision::Allow);
    }

    #[test]
    fn a_filter_can_be_meant_as_it_stands() {
        let access =
            access(vec![rule(false, Scope::Both, "=#"), rule(false, Scope::Both, "=secret/a")], true);
        assert_eq!(access.check(Action::Subscribe, WHO, "#"), DENIED);
        assert_eq!(access.check(Action::Subscribe, WHO, "secret/a"), DENIED);
        assert_eq!(access.check(Action::Publish, WHO, "secret/a"), DENIED);
        for other in ["a/#", "+", "secret/+", "secret/#", "=#"] {
            assert_eq!(access.check(Action::Subscribe, WHO, other), Decision::Allow, "{other}");
        }
    }

    #[test]
    fn a_leading_wildcard_says_nothing_about_system_topics() {
        let all = access(vec![rule(true, Scope::Both, "#")], false);
        assert_eq!(all.check(Action::Subscribe, WHO, "$SYS/#"), DENIED);
        let none = access(vec![rule(false, Scope::Both, "$SYS/#")], true);
        assert_eq!(none.check(Action::Subscribe, WHO, "#"), Decision::Allow);
        assert_eq!(none.check(Action::Subscribe, WHO, "$SYS/+"), DENIED);
    }

    #[test]
    fn rules_about_names() {
        let own = access(
            vec![rule(true, Scope::Both, "dev/{client_id}/#"), rule(true, Scope::Both, "u/{user_name}")],
            false,
        );
        assert_eq!(own.check(Action::Publish, WHO, "dev/meter-7/x"), Decision::Allow);
        assert_eq!(own.check(Action::Publish, WHO, "dev/meter-8/x"), DENIED);
        assert_eq!(own.check(Action::Publish, WHO, "u/ann"), Decision::Allow);
        let nobody = Who { user_name: None, ..WHO };
        assert_eq!(own.check(Action::Publish, nobody, "u/ann"), DENIED);
        let meters = Rule { client_id: Some("meter-*".into()), ..rule(false, Scope::Both, "#") };
        assert_eq!(access(vec![meters.clone()], true).check(Action::Publish, WHO, "x"), DENIED);
        let other = Who { client_id: "pump-7", ..WHO };
        assert_eq!(access(vec![meters], true).check(Action::Publish, other, "x"), Decision::Allow);
    }

    #[test]
    fn patterns() {
        for (pattern, text, want) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acd", false),
            ("a*b*c", "a-b-b-c", true),
            ("ab", "abc", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(fits(pattern, text), want, "{pattern} {text}");
        }
    }
}
