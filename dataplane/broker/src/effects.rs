//! What the shard has to carry out after a call, besides sending bytes: collected in buffers that are reused.

use pelton_base::{Ending, Key};

use crate::access::Action;

/// A connection to be ended by its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The connection.
    pub link: Key,
    /// With or without what is queued.
    pub how: Ending,
}

/// A question for whoever decides on access outside of the shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The connection.
    pub link: Key,
    /// Goes back with the answer.
    pub ticket: u64,
    /// What is asked.
    pub what: Asked,
}

/// A password on its way to whoever checks it; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Vec<u8>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// May this client connect?
    Connect {
        /// Its id, empty if the broker is to assign one.
        client_id: String,
        /// The user name, if given.
        user_name: Option<String>,
        /// The password, if given.
        password: Option<Password>,
    },
    /// May this client do this?
    Do {
        /// Its id.
        client_id: String,
        /// What it wants to do.
        action: Action,
        /// With which topic or filter.
        name: String,
    },
}

/// The effects of the calls since the shard last looked.
#[derive(Debug, Default)]
pub struct Effects {
    /// Connections to end.
    pub closes: Vec<Close>,
    /// Connections whose held input can be looked at again.
    pub resumed: Vec<Key>,
    /// Connections whose clients may be silent for as long as they like: whether they are there is for the transport
    /// to find out.
    pub silent: Vec<Key>,
    /// Questions on access.
    pub asks: Vec<Ask>,
    /// Connections held by congestion came free (the shard keeps the list).
    pub decongested: bool,
}
