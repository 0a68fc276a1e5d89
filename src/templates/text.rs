//! One template: text with words in double braces that are filled with what is known of an agent and its gateway.

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts<'a> {
    /// The agent's id on the gateway: what sessions and spawns call it.
    pub(crate) agent_id: &'a str,
    pub(crate) agent_name: &'a str,
    pub(crate) agent_role: &'a str,
    /// The gateway's UUID here.
    pub(crate) gateway_id: &'a str,
    pub(crate) gateway_name: &'a str,
    /// The gateway's address, without any token.
    pub(crate) gateway_url: &'a str,
    /// The organization's UUID.
    pub(crate) organization_id: &'a str,
    /// Where the gateway's host keeps the workspaces of agents.
    pub(crate) workspace_root: &'a str,
}

/// What can stand between the braces, and what is put in its place.
type Word = (&'static str, for<'a> fn(&Facts<'a>) -> &'a str);

const WORDS: [Word; 8] = [
    ("agent_id", |facts| facts.agent_id),
    ("agent_name", |facts| facts.agent_name),
    ("agent_role", |facts| facts.agent_role),
    ("gateway_id", |facts| facts.gateway_id),
    ("gateway_name", |facts| facts.gateway_name),
    ("gateway_url", |facts| facts.gateway_url),
    ("organization_id", |facts| facts.organization_id),
    ("workspace_root", |facts| facts.workspace_root),
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// Its place in [`WORDS`].
    Word(usize),
}

/// A template that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateFault {
    /// A word that nothing is known for.
    #[error("line {line}: the placeholder {{{{{word}}}}} is unknown; there are {}", known())]
    Unknown {
        /// Counted from 1.
        line: usize,
        /// What stands between the braces, at most 60 characters.
        word: String,
    },
    /// Braces that are not closed on their line.
    #[error("line {line}: {{{{ is not closed by }}}} on the same line")]
    Unclosed {
        /// Counted from 1.
        line: usize,
    },
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateFault> {
        let mut pieces = Vec::new();
        let mut rest = text;
        let mut line = 1;
        while let Some((before, after)) = rest.split_once("{{") {
            line += before.matches('\n').count();
            let Some((inside, behind)) = after.split_once("}}").filter(|(inside, _)| !inside.contains('\n')) else {
                return Err(TemplateFault::Unclosed { line });
            };
            let name = inside.trim();
            let Some(word) = WORDS.iter().position(|(known, _)| *known == name) else {
                return Err(TemplateFault::Unknown { line, word: name.chars().take(60).collect() });
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Word(word));
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    /// The text with its words filled in. What comes out of a word is not read again.
    pub(crate) fn filled(&self, facts: &Facts<'_>) -> String {
        let texts = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Word(word) => WORDS.get(*word).map_or("", |(_, of)| of(facts)),
        });
        texts.collect()
    }
}

fn known() -> String {
    WORDS.map(|(name, _)| name).join(", ")
}
