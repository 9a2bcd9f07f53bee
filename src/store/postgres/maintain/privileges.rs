//! Explains why the role of the maintenance lacks a privilege.

use diesel::sql_types::{Bool, Text};
use diesel::{QueryableByName, sql_query};

use super::super::sqlstate::missing_privilege;
use super::session::Session;
use crate::store::StoreError;
use crate::store::error::StoreFault;

/// The role of the session. Names are SQL.
#[derive(QueryableByName)]
struct Role {
    #[diesel(sql_type = Text)]
    name: String,
    /// The owner of the tables.
    #[diesel(sql_type = Text)]
    owner: String,
    #[diesel(sql_type = Text)]
    schema: String,
    /// Whether the role has the rights of the owner.
    #[diesel(sql_type = Bool)]
    is_owner: bool,
    /// Whether the role may create tables in the schema.
    #[diesel(sql_type = Bool)]
    creates: bool,
}

/// An error that says which privilege is missing and what to do, if that is the cause of an error.
pub(super) async fn explain(session: &mut Session, error: StoreError) -> StoreError {
    let Some(cause) = missing_privilege(&error).cloned() else {
        return error;
    };
    let role = session.row(|| {
        sql_query(
            "SELECT quote_ident(current_user) AS name, relowner::regrole::text AS owner,
                relnamespace::regnamespace::text AS schema, pg_has_role(relowner, 'USAGE') AS is_owner,
                has_schema_privilege(relnamespace, 'CREATE') AS creates
            FROM pg_class WHERE oid = 'events'::regclass",
        )
    });
    let role: Option<Role> = role.await.ok().flatten();
    let Some(Role {
        name,
        owner,
        schema,
        is_owner,
        creates,
    }) = role
    else {
        return error;
    };
    let remedy = if !is_owner {
        format!(
            "the tables belong to {owner}, and only their owner may create and remove partitions: connect as {owner}, or GRANT {owner} TO {name}"
        )
    } else if creates {
        format!("grant it to {name}")
    } else {
        format!("the role may not create partitions: GRANT CREATE ON SCHEMA {schema} TO {name}")
    };
    StoreFault::MissingPrivilege {
        role: name,
        remedy,
        source: cause,
    }
    .into()
}
