//! The feed of events, under concurrent writers, restarts and slow readers.

mod completeness;
