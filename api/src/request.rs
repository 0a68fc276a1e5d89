//! Requests are declared once, with [`request!`]: each field with its type, its meaning for people and the rule that it is read
//! by. Out of that come the reading, which names everything that is wrong at once, the schema of the OpenAPI document and the
//! JSON that a client sends.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use gatewarden_protocol::Secret;
use serde_json::{Map, Value, json};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, Object, ObjectBuilder, OneOfBuilder, Ref, Schema, SchemaFormat,
    SchemaType, Type,
};
use utoipa::openapi::{RefOr, Required};

pub use crate::fields::{Asked, Fields, Problems, Query};

/// Reads a whole body.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read<T: Request>(map: &Map<String, Value>) -> Result<T, Problems> {
    read_from(Fields::new(map))
}

/// The same of fields.
///
/// # Errors
/// Everything that is wrong with them.
pub fn read_from<T: Request>(mut fields: Fields<'_>) -> Result<T, Problems> {
    let request = T::read(&mut fields);
    fields.finish().map(|()| request)
}

impl Fields<'_> {
    /// Reads a field by its rule; what is wrong or missing is noted, and something stands in for it.
    pub fn take<R: Rule, S: Slot<R::Out>>(&mut self, name: &str, rule: &R) -> S {
        if S::REQUIRED && self.value(name).is_none() {
            rule.note_missing(self, name);
            return S::fill(None);
        }
        S::fill(rule.read(self, name))
    }
}

impl Query {
    /// Reads all of it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read<T: Request>(text: &str) -> Result<T, Problems> {
        read_from(Self::parse(text, &Asked::default()).fields())
    }
}

/// What can be read, described and sent; made by [`request!`].
pub trait Request: Sized + Default {
    /// Reads all fields. Where something was wrong, `fields` says so, and the value is not to be used.
    fn read(fields: &mut Fields<'_>) -> Self;
    /// What a client sends.
    fn json(&self) -> Value;
    /// The fields for the document.
    fn described() -> Vec<Described>;
}

/// Two that are read from the same query or body.
impl<A: Request, B: Request> Request for (A, B) {
    fn read(fields: &mut Fields<'_>) -> Self {
        (A::read(fields), B::read(fields))
    }

    fn json(&self) -> Value {
        Value::Object(members(&self.0).into_iter().chain(members(&self.1)).collect())
    }

    fn described() -> Vec<Described> {
        A::described().into_iter().chain(B::described()).collect()
    }
}

/// A field, as the document describes it.
pub struct Described {
    name: &'static str,
    text: String,
    is_required: bool,
    schema: RefOr<Schema>,
    example: Option<Value>,
}

/// How one field is read.
pub trait Rule {
    /// What it is read into.
    type Out: Datum;
    /// Reads it; what is wrong is noted.
    fn read(&self, fields: &mut Fields<'_>, name: &str) -> Option<Self::Out>;
    /// Writes its limits into the schema.
    fn limit(&self, _schema: &mut Object) {}
    /// Says that it is missing.
    fn note_missing(&self, fields: &mut Fields<'_>, name: &str) {
        fields.wrong(name, "is missing");
    }
}

/// A type that fields have.
pub trait Datum: Default {
    /// As it is sent.
    fn json(&self) -> Value;
    /// As the document describes it.
    fn form() -> RefOr<Schema>;
    /// Schemas that the document needs besides.
    fn forms(_: &mut Vec<(String, RefOr<Schema>)>) {}
}

/// Whether a field may be left out: a plain type may not, an `Option` may.
pub trait Slot<T> {
    /// Whether it must be there.
    const REQUIRED: bool;
    /// With what was read.
    fn fill(value: Option<T>) -> Self;
    /// What is in there.
    fn get(&self) -> Option<&T>;
}

impl<T: Default> Slot<T> for T {
    const REQUIRED: bool = true;

    fn fill(value: Option<T>) -> Self {
        value.unwrap_or_default()
    }

    fn get(&self) -> Option<&T> {
        Some(self)
    }
}

impl<T> Slot<T> for Option<T> {
    const REQUIRED: bool = false;

    fn fill(value: Option<T>) -> Self {
        value
    }

    fn get(&self) -> Option<&T> {
        self.as_ref()
    }
}

fn plain(kind: Type, format: Option<KnownFormat>) -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(kind).format(format.map(SchemaFormat::KnownFormat));
    RefOr::T(Schema::Object(object.build()))
}

macro_rules! data {
    ($($type:ty: $kind:ident $(, $format:ident)?;)*) => {
        $(impl Datum for $type {
            fn json(&self) -> Value {
                json!(self)
            }

            fn form() -> RefOr<Schema> {
                plain(Type::$kind, [$(KnownFormat::$format,)?].into_iter().next())
            }
        })*
    };
}

data! {
    String: String;
    bool: Boolean;
    i64: Integer, Int64;
    i32: Integer, Int32;
    u32: Integer, Int32;
    u16: Integer, Int32;
    usize: Integer;
    f64: Number, Double;
    Map<String, Value>: Object;
}

impl Datum for Secret {
    fn json(&self) -> Value {
        Value::from(self.expose())
    }

    fn form() -> RefOr<Schema> {
        String::form()
    }
}

/// Something or `null`, which is not the same as left out.
impl<T: Datum> Datum for Option<T> {
    fn json(&self) -> Value {
        self.as_ref().map_or(Value::Null, Datum::json)
    }

    fn form() -> RefOr<Schema> {
        T::form()
    }
}

impl<T: Datum> Datum for Vec<T> {
    fn json(&self) -> Value {
        self.iter().map(Datum::json).collect()
    }

    fn form() -> RefOr<Schema> {
        RefOr::T(Schema::Array(ArrayBuilder::new().items(T::form()).build()))
    }

    fn forms(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::forms(schemas);
    }
}

impl<T: Datum> Datum for BTreeMap<String, T> {
    fn json(&self) -> Value {
        Value::Object(self.iter().map(|(name, value)| (name.clone(), value.json())).collect())
    }

    fn form() -> RefOr<Schema> {
        let names = match String::form() {
            RefOr::T(schema) => Some(schema),
            RefOr::Ref(_) => None,
        };
        let object = ObjectBuilder::new()
            .schema_type(Type::Object)
            .property_names(names)
            .additional_properties(Some(AdditionalProperties::RefOr(T::form())));
        RefOr::T(Schema::Object(object.build()))
    }
}

/// Declares a request: `name "wire name": Type = rule => "example";`. A type that is an `Option` may be left out. `..name: Request;`
/// at the end adds the fields of another request.
macro_rules! request {
    ($($(#[doc = $about:literal])* $request:ident {
        $($(#[doc = $doc:literal])* $field:ident $($wire:literal)?: $type:ty = $rule:expr $(=> $example:expr)?;)*
        $(..$rest:ident: $rest_type:ty;)?
    })*) => {
        $(
        $(#[doc = $about])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $request {
            $($(#[doc = $doc])* pub $field: $type,)*
            $(#[expect(missing_docs, reason = "its type says what they are")] pub $rest: $rest_type,)?
        }

        impl $crate::request::Request for $request {
            fn read(fields: &mut $crate::request::Fields<'_>) -> Self {
                Self {
                    $($field: fields.take($crate::request::wire!($field $($wire)?), &$rule),)*
                    $($rest: <$rest_type as $crate::request::Request>::read(fields),)?
                }
            }

            fn json(&self) -> serde_json::Value {
                let mut map = serde_json::Map::new();
                $($crate::request::put(&mut map, $crate::request::wire!($field $($wire)?), &$rule, &self.$field);)*
                $(map.extend($crate::request::members(&self.$rest));)?
                serde_json::Value::Object(map)
            }

            fn described() -> Vec<$crate::request::Described> {
                let fields = vec![$($crate::request::describe(
                    $crate::request::wire!($field $($wire)?),
                    &[$($doc),*],
                    &$rule,
                    std::marker::PhantomData::<$type>,
                    [$(serde_json::json!($example),)?].into_iter().next(),
                ),)*];
                $(let fields = fields.into_iter().chain(<$rest_type as $crate::request::Request>::described()).collect();)?
                fields
            }
        }

        impl $crate::request::Datum for $request {
            fn json(&self) -> serde_json::Value {
                $crate::request::Request::json(self)
            }

            fn form() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::schema::Ref::from_schema_name(stringify!($request)).into()
            }

            fn forms(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
                schemas.push((stringify!($request).to_owned(), <Self as utoipa::PartialSchema>::schema()));
                <Self as utoipa::ToSchema>::schemas(schemas);
            }
        }

        impl utoipa::PartialSchema for $request {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::request::object_schema::<Self>(&[$($about),*])
            }
        }

        impl utoipa::ToSchema for $request {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($request).into()
            }

            fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
                let _ = &schemas;
                $($crate::request::nested_schemas(&$rule, schemas);)*
                $(<$rest_type as utoipa::ToSchema>::schemas(schemas);)?
            }
        }

        impl utoipa::IntoParams for $request {
            fn into_params(
                _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
            ) -> Vec<utoipa::openapi::path::Parameter> {
                $crate::request::query_parameters::<Self>()
            }
        }
        )*
    };
}
macro_rules! wire {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $wire:literal) => {
        $wire
    };
}
pub(crate) use {request, wire};

/// What [`request!`] makes of a field for a client's body.
pub fn put<R: Rule, S: Slot<R::Out>>(map: &mut Map<String, Value>, name: &str, _: &R, slot: &S) {
    if let Some(value) = slot.get() {
        map.insert(name.to_owned(), value.json());
    }
}

/// The fields of a request, as a client sends them.
pub fn members(request: &impl Request) -> Map<String, Value> {
    match request.json() {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// The names of all fields of a request.
pub fn field_names<T: Request>() -> Vec<String> {
    T::described().into_iter().map(|field| field.name.to_owned()).collect()
}

/// What [`request!`] makes of a field for the document.
pub fn describe<R: Rule, S: Slot<R::Out>>(
    name: &'static str,
    docs: &[&str],
    rule: &R,
    _: PhantomData<S>,
    example: Option<Value>,
) -> Described {
    let mut schema = R::Out::form();
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        rule.limit(object);
    }
    Described { name, text: text_of(docs), is_required: S::REQUIRED, schema, example }
}

/// Schemas that a field needs besides its own.
pub fn nested_schemas<R: Rule>(_: &R, schemas: &mut Vec<(String, RefOr<Schema>)>) {
    R::Out::forms(schemas);
}

/// The schema of a body.
pub fn object_schema<T: Request>(about: &[&str]) -> RefOr<Schema> {
    let mut object = ObjectBuilder::new().schema_type(Type::Object).description(Some(text_of(about)));
    for field in T::described() {
        if field.is_required {
            object = object.required(field.name);
        }
        let schema = match field.schema {
            RefOr::T(Schema::Object(mut schema)) => {
                schema.schema_type = nullable(schema.schema_type, field.is_required);
                if let Some(words) = schema.enum_values.as_mut().filter(|_| !field.is_required) {
                    words.push(Value::Null);
                }
                schema.description = Some(field.text);
                schema.example = field.example;
                RefOr::T(Schema::Object(schema))
            }
            RefOr::T(Schema::Array(mut schema)) => {
                schema.schema_type = nullable(schema.schema_type, field.is_required);
                schema.description = Some(field.text);
                RefOr::T(Schema::Array(schema))
            }
            RefOr::Ref(Ref { ref_location, .. }) => {
                let reference = Ref::builder().ref_location(ref_location).description(Some(field.text)).build();
                let null = Object::with_type(Type::Null);
                RefOr::T(Schema::OneOf(OneOfBuilder::new().item(reference).item(null).build()))
            }
            other => other,
        };
        object = object.property(field.name, schema);
    }
    RefOr::T(Schema::Object(object.build()))
}

fn nullable(kind: SchemaType, is_required: bool) -> SchemaType {
    match kind {
        SchemaType::Type(kind) if !is_required => SchemaType::from_iter([kind, Type::Null]),
        SchemaType::Array(kinds) if !is_required => SchemaType::Array([kinds, vec![Type::Null]].concat()),
        kind => kind,
    }
}

/// The parameters of a query.
pub fn query_parameters<T: Request>() -> Vec<Parameter> {
    let parameter = |mut field: Described| {
        // An empty value counts as left out.
        if let RefOr::T(Schema::Object(schema)) = &mut field.schema
            && !field.is_required
        {
            schema.min_length = None;
            if let Some(words) = &mut schema.enum_values {
                words.push("".into());
            }
        }
        ParameterBuilder::new()
            .name(field.name)
            .parameter_in(ParameterIn::Query)
            .description(Some(field.text))
            .required(if field.is_required { Required::True } else { Required::False })
            .schema(Some(field.schema))
            .example(field.example)
            .build()
    };
    T::described().into_iter().map(parameter).collect()
}

fn text_of(docs: &[&str]) -> String {
    docs.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![expect(unreachable_pub, reason = "as declared requests are")]

    use utoipa::PartialSchema as _;

    use super::*;
    use crate::fields::MOST_NOTED;
    use crate::rules::{flag, id, nested, nested_list, small, text};

    request! {
        /// A body.
        Body {
            name: String = text(1..=200);
            /// Where it listens.
            port: Option<u16> = small::<u16>(1..=65_535) => 18_789;
            is_primary: Option<bool> = flag();
            inner "innerBody": Option<Inner> = nested::<Inner>();
            list: Option<Vec<Inner>> = nested_list::<Inner>(2, "must be an object");
        }
        /// Inside.
        Inner {
            id: i64 = id();
        }
    }

    fn problems<T: Request>(body: Value) -> Problems {
        read::<T>(body.as_object().unwrap()).map(|_| ()).unwrap_err()
    }

    #[test]
    fn one_answer_names_every_offending_field() {
        let problems = problems::<Body>(
            json!({"name": 5, "port": "18789", "is_primary": "yes", "innerBody": {}, "list": [{"id": -1}, 5, "left aside"]}),
        );
        let sentence = problems.sentence();
        for word in [
            "name must be a text, not a number",
            "port must be an integer from 1 to 65535, not a text",
            "is_primary must be true or false",
            "innerBody.id is missing",
            "list[0].id must be a positive integer",
            "list[1] must be an object",
        ] {
            assert!(sentence.contains(word), "{sentence}");
        }
        assert_eq!(problems.details()["fields"].as_array().unwrap().len(), 6);
    }

    #[test]
    fn what_a_client_sends_is_what_is_read() {
        let sent = Body {
            name: "a".to_owned(),
            port: Some(1),
            inner: Some(Inner { id: 3 }),
            list: Some(vec![Inner { id: 4 }]),
            ..Body::default()
        };
        let json = Request::json(&sent);
        assert_eq!(json, json!({"name": "a", "port": 1, "innerBody": {"id": 3}, "list": [{"id": 4}]}));
        assert_eq!(read::<Body>(json.as_object().unwrap()), Ok(sent));
    }

    #[test]
    fn what_nobody_asked_for_is_known_by_its_path_and_what_was_left_out_is_not() {
        let body = json!({"name": "a", "nmae": "b", "port": null, "innerBody": {"id": 1, "x": {"y": 1}}, "list": [{"id": 1}, {"id": 2, "z": 1}]});
        let (map, asked) = (body.as_object().unwrap(), Asked::default());
        read_from::<Body>(Fields::noted(map, &asked)).unwrap();
        assert_eq!(asked.ignored(), ["innerBody.x", "list[1].z", "nmae"]);
        // Another reading of the same body knows more of it.
        assert!(Fields::noted(map, &asked).has("nmae"));
        assert_eq!(asked.ignored(), ["innerBody.x", "list[1].z"]);
        // What says whom a body is about is read ahead, and a body of which nothing else is read has no field that is left aside.
        let asked = Asked::default();
        Fields::ahead(map, &asked).value("nmae");
        assert_eq!(asked.ignored(), [""; 0]);
        read_from::<Body>(Fields::noted(map, &asked)).unwrap();
        assert_eq!(asked.ignored(), ["innerBody.x", "list[1].z"]);
        let many: Map<String, Value> = (0..5_000).map(|n| (format!("f{n}"), n.into())).collect();
        let asked = Asked::default();
        let _ = Fields::noted(&many, &asked);
        assert_eq!(asked.ignored().len(), MOST_NOTED);
    }

    #[test]
    fn the_document_says_the_same_limits() {
        let schema = serde_json::to_value(Body::schema()).unwrap();
        assert_eq!(schema["required"], json!(["name"]));
        assert_eq!(
            schema["properties"]["port"],
            json!({"type": ["integer", "null"], "format": "int32", "description": "Where it listens.",
                   "minimum": 1, "maximum": 65535, "example": 18789})
        );
        assert_eq!(schema["properties"]["name"]["maxLength"], 200);
        assert_eq!(schema["properties"]["list"]["items"]["$ref"], "#/components/schemas/Inner");
        let mut nested = Vec::new();
        <Body as utoipa::ToSchema>::schemas(&mut nested);
        assert!(nested.iter().any(|(name, _)| name == "Inner"));
    }

    #[test]
    fn a_flag_takes_true_false_one_and_zero() {
        let read = |value| read::<Body>(json!({"name": "a", "is_primary": value}).as_object().unwrap());
        for (value, flag) in [(json!(true), true), (json!(false), false), (json!(1), true), (json!(0), false)] {
            assert_eq!(read(value).unwrap().is_primary, Some(flag));
        }
        assert!(read(json!(2)).is_err());
    }
}
