//! Who may go on with a session, and over which link: keyed BLAKE2s.

use blake2::{
    Blake2sMac256,
    digest::{FixedOutput, KeyInit, Mac},
};

use super::{
    LINK_WINDOW, SEALED_LINK_WINDOW,
    wire::{NewOk, Proof},
};

/// What ties a proof to the link it is made for, so that it is of no use on another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    kind: BindingKind,
    shared: [u8; 32],
    /// Who is at the other end, where the operating system says so.
    peer: Option<u32>,
}

/// What a link offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum BindingKind {
    /// Nothing: anybody on the way can read the secret, and go on with the session.
    Plain = 0,
    Noise = 1,
    Tls = 2,
    /// The kernel vouches for the peer's user; the file's permissions for who can listen.
    Unix = 3,
}

impl Binding {
    /// A link whose handshake both ends know by this hash: an encrypted channel.
    pub fn noise(hash: [u8; 32]) -> Self {
        Self::of(BindingKind::Noise, hash, None)
    }

    /// A TLS link, by the value that both ends export from it.
    pub fn tls(exported: [u8; 32]) -> Self {
        Self::of(BindingKind::Tls, exported, None)
    }

    /// A unix socket, by the user at its other end.
    pub fn unix(peer: u32) -> Self {
        Self::of(BindingKind::Unix, [0; 32], Some(peer))
    }

    /// A link that anybody on the way can read and change.
    pub fn plain() -> Self {
        Self::of(BindingKind::Plain, [0; 32], None)
    }

    fn of(kind: BindingKind, shared: [u8; 32], peer: Option<u32>) -> Self {
        Self { kind, shared, peer }
    }

    /// Bytes that may wait on such a link to be written.
    pub fn window(&self) -> usize {
        match self.kind {
            BindingKind::Noise => SEALED_LINK_WINDOW,
            BindingKind::Plain | BindingKind::Tls | BindingKind::Unix => LINK_WINDOW,
        }
    }

    /// True when nobody else can read what passes.
    pub fn is_secure(&self) -> bool {
        self.kind != BindingKind::Plain
    }

    /// True when a session that began over a link like `self` may go on over one like `other`.
    pub(super) fn admits(&self, other: &Self) -> bool {
        self.kind == other.kind && self.peer == other.peer
    }
}

/// What both ends know of a session.
#[derive(Clone)]
pub(super) struct Ticket {
    pub(super) new: NewOk,
    /// The link it began on.
    pub(super) binding: Binding,
}

/// What an ATTACH claims, and what an ATTACHED does.
pub(super) enum Claim {
    Attach { received_to: u64 },
    Attached { received_to: u64, credit: u32 },
}

impl Ticket {
    /// The proof of a claim.
    pub(super) fn prove(&self, claim: &Claim, epoch: u64, binding: &Binding) -> Proof {
        self.mac(claim, epoch, binding).finalize_fixed().into()
    }

    /// True when whoever made the proof knows the secret, and means this claim on this link. Takes the same time for any
    /// wrong proof.
    pub(super) fn verify(
        &self,
        proof: &Proof,
        claim: &Claim,
        epoch: u64,
        binding: &Binding,
    ) -> bool {
        self.mac(claim, epoch, binding).verify_slice(proof).is_ok()
    }

    fn mac(&self, claim: &Claim, epoch: u64, binding: &Binding) -> Blake2sMac256 {
        let mut mac = <Blake2sMac256 as KeyInit>::new_from_slice(&self.new.secret)
            .expect("BLAKE2s takes keys of 32 bytes");
        let (label, received_to, credit): (&[u8; 16], u64, u32) = match *claim {
            Claim::Attach { received_to } => (b"resume: attach  ", received_to, 0),
            Claim::Attached {
                received_to,
                credit,
            } => (b"resume: attached", received_to, credit),
        };
        // All of a fixed length, so that no two claims are the same bytes.
        mac.update(label);
        mac.update(&self.new.session);
        mac.update(&self.new.incarnation);
        mac.update(&epoch.to_be_bytes());
        mac.update(&received_to.to_be_bytes());
        mac.update(&credit.to_be_bytes());
        mac.update(&[binding.kind as u8]);
        mac.update(&binding.shared);
        mac
    }
}
