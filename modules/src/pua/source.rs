//! Who asks for a publication or a subscription.
//!
//! For: the column `flag`, keeping apart what different modules say of one resource, and finding
//! whose business a report or a notification is.
//! Invariants: a source's number never changes, for rows outlive a node.

/// The module behind a record; the numbers are those of the column `flag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Source {
    /// `pua_usrloc`: presence of registered users.
    UsrlocPublish = 1,
    /// Bridged line appearance.
    BlaPublish = 2,
    /// See [`Source::BlaPublish`].
    BlaSubscribe = 4,
    /// A gateway to XMPP.
    XmppPublish = 8,
    /// See [`Source::XmppPublish`].
    XmppSubscribe = 16,
    /// The first subscription of a gateway; kept and matched as [`Source::XmppSubscribe`].
    XmppInitialSubscribe = 32,
    /// The command `pua.publish`.
    RpcPublish = 64,
    /// The command `pua.send_publish`.
    RpcAsyncPublish = 128,
    /// The command `pua.subscribe`.
    RpcSubscribe = 256,
    /// A resource list server's subscriptions to the list's members.
    RlsSubscribe = 512,
    /// `pua_dialoginfo`: calls.
    DialogPublish = 1024,
    /// A gateway to other messengers.
    PurplePublish = 2048,
    /// `pua_reginfo`: registrations.
    ReginfoPublish = 4096,
    /// `pua_reginfo`: registrations of another server.
    ReginfoSubscribe = 8192,
    /// Documents of an XCAP server.
    XcapDiffPublish = 16_384,
    /// See [`Source::XcapDiffPublish`].
    XcapDiffSubscribe = 32_768,
    /// Features of a device.
    FeaturesPublish = 65_536,
    /// See [`Source::FeaturesPublish`].
    FeaturesSubscribe = 131_072,
    /// A routing of one's own.
    Routing = 262_144,
}

impl Source {
    /// Every source.
    pub const ALL: [Source; 19] = [
        Source::UsrlocPublish,
        Source::BlaPublish,
        Source::BlaSubscribe,
        Source::XmppPublish,
        Source::XmppSubscribe,
        Source::XmppInitialSubscribe,
        Source::RpcPublish,
        Source::RpcAsyncPublish,
        Source::RpcSubscribe,
        Source::RlsSubscribe,
        Source::DialogPublish,
        Source::PurplePublish,
        Source::ReginfoPublish,
        Source::ReginfoSubscribe,
        Source::XcapDiffPublish,
        Source::XcapDiffSubscribe,
        Source::FeaturesPublish,
        Source::FeaturesSubscribe,
        Source::Routing,
    ];

    /// The number in the column `flag`.
    pub const fn bit(self) -> u32 {
        self as u32
    }

    /// The source with this number.
    pub fn from_bit(bit: u32) -> Option<Source> {
        Source::ALL.into_iter().find(|source| source.bit() == bit)
    }

    /// The source under which a record of this one is kept.
    pub const fn kept_as(self) -> Source {
        if let Source::XmppInitialSubscribe = self { Source::XmppSubscribe } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_a_bit_of_its_own() {
        let all = Source::ALL.into_iter().fold(0, |all, source| {
            assert_eq!(all & source.bit(), 0, "{source:?}");
            assert_eq!(Source::from_bit(source.bit()), Some(source));
            all | source.bit()
        });
        assert_eq!(all, (1 << 19) - 1);
        assert_eq!(Source::from_bit(3), None);
        assert_eq!(Source::XmppInitialSubscribe.kept_as(), Source::XmppSubscribe);
    }
}
