"""The issuance core: CAs, certificates, revocations, CRLs and online signers. Holds the CA keys; never online."""
