//! Whose association is this, and where may that partner have things sent: AE titles and an address in, a partner's own out.
//!
//! Pure; whoever accepts associations asks, for storing and for everything else alike.

use super::{Config, DicomDestination, DicomSender, Partner};
use std::net::IpAddr;

/// Why nobody is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownCaller {
    CallingAe,
    CalledAe,
}

impl Config {
    /// Who is calling? By calling AE title and address; then the called AE title must be the one configured for this
    /// sender, or ours.
    ///
    /// # Errors
    /// Which of the two titles fits nobody.
    pub fn dicom_caller(&self, address: IpAddr, calling_ae: &str, called_ae: &str) -> Result<&Partner, UnknownCaller> {
        let address = address.to_canonical();
        let calls = |sender: &DicomSender| {
            sender.ae_title == calling_ae && sender.address.is_none_or(|allowed| allowed == address)
        };
        let mut candidates = self
            .partners
            .values()
            .flat_map(|partner| {
                partner.dicom.iter().flat_map(move |dicom| dicom.senders.iter().map(move |s| (partner, s)))
            })
            .filter(|(_, sender)| calls(sender))
            .collect::<Vec<_>>();
        if candidates.is_empty() {
            return Err(UnknownCaller::CallingAe);
        }
        // A sender with an address is more specific than one without.
        candidates.sort_by_key(|(_, sender)| (sender.called_ae.is_none(), sender.address.is_none()));
        let called = |sender: &DicomSender| match &sender.called_ae {
            Some(configured) => configured == called_ae,
            None => self.dicom.ae_title == called_ae,
        };
        let fits = candidates.into_iter().find(|(_, sender)| called(sender));
        fits.map(|(partner, _)| partner).ok_or(UnknownCaller::CalledAe)
    }
}

impl Partner {
    /// A place of its own by AE title: one of `destinations`, or where it takes images.
    pub fn dicom_destination(&self, ae_title: &str) -> Option<DicomDestination> {
        let dicom = self.dicom.as_ref()?;
        let listed = dicom.destinations.iter().find(|destination| destination.ae_title == ae_title).cloned();
        listed.or_else(|| {
            let deliver = dicom.deliver.as_ref().filter(|deliver| deliver.ae_title == ae_title)?;
            let (ae_title, host, port) = (deliver.ae_title.clone(), deliver.host.clone(), deliver.port);
            Some(DicomDestination { ae_title, host, port })
        })
    }
}
