//! Seeded documents and operations.
