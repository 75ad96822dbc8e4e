//! Whom a connection trusts.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::intake::TlsError;

/// Authorities, and the name that the other side must have.
#[derive(Clone)]
pub struct Trust {
    pub(super) connector: TlsConnector,
    /// The name in its certificate, if it is not the host's.
    pub(super) name: Option<ServerName<'static>>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

impl Trust {
    /// Reads authorities from a PEM file. `name` is what the certificate must be for, if not the host that is connected to.
    ///
    /// # Errors
    /// When there is none in it, or the name is none.
    pub fn read(authorities: &Path, name: Option<&str>) -> Result<Self, TlsError> {
        let wrong = |error: &dyn fmt::Display| TlsError::new(authorities, error);
        let mut roots = RootCertStore::empty();
        let found = CertificateDer::pem_file_iter(authorities).map_err(|error| wrong(&error))?;
        for certificate in found {
            let certificate = certificate.map_err(|error| wrong(&error))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"it holds no certificate"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = name
            .map(|name| ServerName::try_from(name.to_owned()).map_err(|error| wrong(&error)))
            .transpose()?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name,
        })
    }
}
