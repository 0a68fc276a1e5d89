//! What is sent, being read: the fields of a JSON object or the parameters of a query, what is wrong with them, and which of them
//! somebody asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::{Map, Value, json};

/// What is wrong with a request, field by field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<(String, String)>);

impl Problems {
    /// `sentence` names the field.
    pub fn add(&mut self, field: impl Into<String>, sentence: impl Into<String>) {
        self.0.push((field.into(), sentence.into()));
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them in one.
    pub fn sentence(&self) -> String {
        self.0.iter().map(|(_, sentence)| sentence.as_str()).collect::<Vec<_>>().join("; ")
    }

    /// The same for programs: `{"fields": [{"field", "problem"}]}`.
    pub fn details(&self) -> Value {
        let fields: Vec<Value> =
            self.0.iter().map(|(field, sentence)| json!({"field": field, "problem": sentence})).collect();
        json!({ "fields": fields })
    }
}

/// Most fields of a body that are looked at for whether anybody asked for them.
pub(crate) const MOST_NOTED: usize = 1_000;

/// Which fields a body or a query has, and which somebody asked for, by their paths: what nobody asked for has no effect, and its sender
/// should know. Clones share it, so that it can be read more than once.
#[derive(Debug, Clone, Default)]
pub struct Asked(Rc<RefCell<AskedFields>>);

#[derive(Debug, Default)]
struct AskedFields {
    present: BTreeSet<String>,
    asked: BTreeSet<String>,
}

impl Asked {
    fn has(&self, prefix: &str, map: &Map<String, Value>) {
        let present = &mut self.0.borrow_mut().present;
        for name in map.keys().take(MOST_NOTED.saturating_sub(present.len())) {
            present.insert(format!("{prefix}{name}"));
        }
    }

    fn ask(&self, prefix: &str, name: &str) {
        let AskedFields { present, asked } = &mut *self.0.borrow_mut();
        let path = format!("{prefix}{name}");
        if asked.len() < MOST_NOTED || present.contains(&path) {
            asked.insert(path);
        }
    }

    /// The fields that nobody asked for, in the order of their names; of an object that nobody asked for only itself.
    pub fn ignored(&self) -> Vec<String> {
        let AskedFields { present, asked } = &*self.0.borrow();
        present.difference(asked).cloned().collect()
    }
}

/// The fields of a JSON object, or the parameters of a query, being read. `null` counts as left out unless a rule says
/// otherwise, in a query an empty value does.
#[derive(Debug)]
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    pub(crate) is_query: bool,
    pub(crate) prefix: String,
    problems: Problems,
    asked: Option<Asked>,
}

impl<'a> Fields<'a> {
    /// Those of a body.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Self { map, is_query: false, prefix: String::new(), problems: Problems::default(), asked: None }
    }

    /// The same, with a note of what is asked for.
    pub fn noted(map: &'a Map<String, Value>, asked: &Asked) -> Self {
        asked.has("", map);
        Self::ahead(map, asked)
    }

    /// The same ahead of the reading that counts: what is asked for is noted, and not yet what is there.
    pub fn ahead(map: &'a Map<String, Value>, asked: &Asked) -> Self {
        Self { asked: Some(asked.clone()), ..Self::new(map) }
    }

    /// Those of an object inside; sentences name them `path.field`.
    pub(crate) fn inside(&self, map: &'a Map<String, Value>, path: &str) -> Self {
        let prefix = format!("{}{path}.", self.prefix);
        if let Some(asked) = &self.asked {
            asked.has(&prefix, map);
        }
        Self { prefix, asked: self.asked.clone(), ..Self::new(map) }
    }

    fn ask(&self, name: &str) {
        if let Some(asked) = &self.asked {
            asked.ask(&self.prefix, name);
        }
    }

    /// Notes that a field is wrong; the sentence is the field's name and `what`.
    pub fn wrong(&mut self, name: &str, what: impl std::fmt::Display) {
        let path = format!("{}{name}", self.prefix);
        let sentence = format!("{path} {what}");
        self.problems.add(path, sentence);
    }

    /// Notes a sentence that says by itself what is wrong.
    pub fn add(&mut self, name: &str, sentence: impl Into<String>) {
        self.problems.add(format!("{}{name}", self.prefix), sentence);
    }

    /// Whether the field is there, `null` or not.
    pub fn has(&self, name: &str) -> bool {
        self.ask(name);
        self.map.contains_key(name)
    }

    /// The value, unless left out.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.ask(name);
        let is_empty = |value: &Value| self.is_query && value.as_str() == Some("");
        self.map.get(name).filter(|value| !value.is_null() && !is_empty(value))
    }

    /// How many of them were wrong so far.
    pub(crate) fn problems(&self) -> usize {
        self.problems.0.len()
    }

    /// Whether nothing was wrong so far.
    pub fn is_fine(&self) -> bool {
        self.problems.is_empty()
    }

    /// The end of reading.
    ///
    /// # Errors
    /// Everything that was wrong.
    pub fn finish(self) -> Result<(), Problems> {
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems) }
    }

    pub(crate) fn absorb(&mut self, other: Fields<'_>) {
        self.problems.0.extend(other.problems.0);
    }
}

/// The parameters of a query.
#[derive(Debug)]
pub struct Query {
    parameters: Map<String, Value>,
    problems: Problems,
    asked: Asked,
}

impl Query {
    /// Reads `a=1&b=2`, with a note of what is asked for. A parameter that is given twice is a problem.
    pub fn parse(text: &str, asked: &Asked) -> Self {
        let mut query = Self { parameters: Map::new(), problems: Problems::default(), asked: asked.clone() };
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            if query.parameters.contains_key(&*name) {
                let shown: String = name.chars().filter(|character| !character.is_control()).take(60).collect();
                query.problems.add(shown.clone(), format!("The query names {shown} twice"));
                continue;
            }
            query.parameters.insert(name.into_owned(), Value::from(value));
        }
        query
    }

    /// For reading.
    pub fn fields(&self) -> Fields<'_> {
        Fields { is_query: true, problems: self.problems.clone(), ..Fields::noted(&self.parameters, &self.asked) }
    }
}
