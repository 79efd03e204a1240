//! Keys, certificates and tokens of one control plane, made anew for each and kept in its in-memory folder.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// Why keys or certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A key or certificate could not be made.
    #[error("cannot make {what}")]
    Make {
        /// Which one.
        what: &'static str,
        /// What the library said.
        source: rcgen::Error,
    },
    /// A file could not be written or read.
    #[error("cannot write or read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Files that the control plane's programs read.
#[derive(Clone, Debug)]
pub(crate) struct Pki {
    pub ca_cert: PathBuf,
    pub server_cert: PathBuf,
    pub server_key: PathBuf,
    pub service_account_key: PathBuf,
    pub service_account_public_key: PathBuf,
    pub token_file: PathBuf,
}

/// A client that the control plane knows by a static token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// People and tests.
    Admin,
    /// What plays the kubelets, so that its requests are told apart in the audit log.
    Kubelets,
    ControllerManager,
    Scheduler,
}

impl Identity {
    pub(crate) const ALL: [Self; 4] = [Self::Admin, Self::Kubelets, Self::ControllerManager, Self::Scheduler];

    pub(crate) fn user(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Kubelets => "testbed:kubelets",
            Self::ControllerManager => "system:kube-controller-manager",
            Self::Scheduler => "system:kube-scheduler",
        }
    }

    /// The name of its kubeconfig file.
    pub(crate) fn file_stem(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Kubelets => "kubelets",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
        }
    }

    fn groups(self) -> &'static str {
        match self {
            Self::Admin | Self::Kubelets => "system:masters",
            Self::ControllerManager | Self::Scheduler => "",
        }
    }
}

/// Makes a CA, the serving certificate for `address`, the key that signs service account tokens, and the static tokens.
///
/// Returns the files and one token per [`Identity`], in the order of [`Identity::ALL`].
pub(crate) fn create(dir: &Path, address: &str) -> Result<(Pki, Vec<String>), PkiError> {
    let files = Pki {
        ca_cert: dir.join("ca.crt"),
        server_cert: dir.join("apiserver.crt"),
        server_key: dir.join("apiserver.key"),
        service_account_key: dir.join("service-accounts.key"),
        service_account_public_key: dir.join("service-accounts.pub"),
        token_file: dir.join("tokens.csv"),
    };
    let ca_key = key("the key of the CA")?;
    let ca = ca_parameters().self_signed(&ca_key).map_err(make("the CA"))?;
    write(&files.ca_cert, &ca.pem())?;
    let server_key = key("the key of the API server")?;
    let server = server_parameters(address)?
        .signed_by(&server_key, &Issuer::new(ca_parameters(), ca_key))
        .map_err(make("the certificate of the API server"))?;
    write(&files.server_cert, &server.pem())?;
    write(&files.server_key, &server_key.serialize_pem())?;
    let account_key = key("the key of service accounts")?;
    write(&files.service_account_key, &account_key.serialize_pem())?;
    write(&files.service_account_public_key, &account_key.public_key_pem())?;
    let tokens = Identity::ALL.iter().map(|_| random_token()).collect::<Result<Vec<_>, _>>()?;
    let lines = Identity::ALL.iter().zip(&tokens).map(|(identity, token)| {
        let user = identity.user();
        match identity.groups() {
            "" => format!("{token},{user},{user}\n"),
            groups => format!("{token},{user},{user},\"{groups}\"\n"),
        }
    });
    write(&files.token_file, &lines.collect::<String>())?;
    Ok((files, tokens))
}

fn ca_parameters() -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "testbed");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
}

fn server_parameters(address: &str) -> Result<CertificateParams, PkiError> {
    let names = ["kubernetes.default.svc", "kubernetes.default", "kubernetes", "localhost", address];
    let mut parameters =
        CertificateParams::new(names.map(String::from)).map_err(make("the certificate of the API server"))?;
    parameters.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    Ok(parameters)
}

fn key(what: &'static str) -> Result<KeyPair, PkiError> {
    KeyPair::generate().map_err(make(what))
}

fn make(what: &'static str) -> impl FnOnce(rcgen::Error) -> PkiError {
    move |source| PkiError::Make { what, source }
}

fn write(path: &Path, text: &str) -> Result<(), PkiError> {
    std::fs::write(path, text).map_err(|source| PkiError::File { path: path.into(), source })
}

fn random_token() -> Result<String, PkiError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    std::fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|source| PkiError::File { path: path.into(), source })?;
    Ok(u128::from_le_bytes(bytes).to_string())
}
