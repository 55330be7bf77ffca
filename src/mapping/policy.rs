//! The options that hold for each path: those of the path itself, of its collection, or of all collections.

use std::collections::HashMap;

use super::options::{CollectionOptions, MappingOptions, NestedForm, OnTypeConflict, PathOptions};
use super::types::natural;
use crate::model::bson::Value;
use crate::model::table::PgType;

/// What holds for one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldOptions {
    /// How an embedded document there is stored.
    pub objects: NestedForm,
    /// How an array of documents there is stored.
    pub arrays: NestedForm,
    /// What happens to a value that its column does not hold.
    pub on_conflict: OnTypeConflict,
    /// The type that its column has, whatever comes.
    pub fixed: Option<PgType>,
    /// True when every value goes into one `jsonb` column.
    pub jsonb: bool,
}

/// What holds for each path of one collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    default: FieldOptions,
    paths: HashMap<Vec<String>, FieldOptions>,
}

impl FieldOptions {
    /// True when the configuration makes it one column, whatever comes.
    #[must_use]
    pub fn is_column(&self) -> bool {
        self.jsonb || self.fixed.is_some()
    }

    /// True when its documents become columns of the table around.
    #[must_use]
    pub fn flattens(&self) -> bool {
        self.objects == NestedForm::Flatten && !self.is_column()
    }

    /// The type of a column that is made for this value.
    #[must_use]
    pub fn column_type(&self, value: &Value<'_>) -> PgType {
        if self.jsonb { PgType::Jsonb } else { self.fixed.unwrap_or_else(|| natural(value)) }
    }

    fn with(self, options: &PathOptions) -> Self {
        let form = |other| options.form.unwrap_or(other);
        Self {
            objects: form(self.objects),
            arrays: options.form.filter(|form| *form != NestedForm::Flatten).unwrap_or(self.arrays),
            on_conflict: options.on_type_conflict.unwrap_or(self.on_conflict),
            fixed: options.ty,
            jsonb: options.form == Some(NestedForm::Jsonb),
        }
    }
}

impl Policies {
    /// The options of one collection laid over those of all.
    #[must_use]
    pub fn new(all: &MappingOptions, own: Option<&CollectionOptions>) -> Self {
        let default = FieldOptions {
            objects: own.and_then(|own| own.objects).unwrap_or(all.objects),
            arrays: own.and_then(|own| own.arrays).unwrap_or(all.arrays),
            on_conflict: own.and_then(|own| own.on_type_conflict).unwrap_or(all.on_type_conflict),
            fixed: None,
            jsonb: false,
        };
        let paths = own.map(|own| own.paths.as_slice()).unwrap_or_default();
        let paths = paths.iter().map(|options| (options.path.clone(), default.with(options))).collect();
        Self { default, paths }
    }

    /// What holds for the field `name` of the document at `path`.
    #[must_use]
    pub fn of(&self, path: &[String], name: &str) -> FieldOptions {
        if self.paths.is_empty() {
            return self.default;
        }
        let full: Vec<String> = path.iter().map(String::as_str).chain([name]).map(str::to_owned).collect();
        self.paths.get(&full).copied().unwrap_or(self.default)
    }
}
