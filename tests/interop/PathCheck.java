import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.URI;
import java.security.SecureRandom;
import java.security.cert.CertPath;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertificateFactory;
import java.security.cert.CertificateRevokedException;
import java.security.cert.Extension;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/**
 * Validates certification paths with OCSP and nothing else: no CRL is fetched and no failure is forgiven.
 *
 * Arguments: root.pem, the responder's URI or "-" for the one that each certificate names, the nonce's length (0 sends
 * none), then pairs of leaf.pem and issuer.pem. Prints one line a pair: "good", "revoked REASON" or "refused MESSAGE".
 */
public final class PathCheck {
    private static final CertificateFactory X509 = factory();

    public static void main(String[] arguments) throws Exception {
        TrustAnchor root = new TrustAnchor(read(arguments[0]), null);
        int nonce = Integer.parseInt(arguments[2]);
        for (int i = 3; i < arguments.length; i += 2) {
            CertPath path = X509.generateCertPath(List.of(read(arguments[i]), read(arguments[i + 1])));
            System.out.println(verdict(path, root, arguments[1], nonce));
        }
    }

    private static String verdict(CertPath path, TrustAnchor root, String responder, int nonce) throws Exception {
        CertPathValidator validator = CertPathValidator.getInstance("PKIX");
        PKIXRevocationChecker revocation = (PKIXRevocationChecker) validator.getRevocationChecker();
        revocation.setOptions(EnumSet.of(PKIXRevocationChecker.Option.NO_FALLBACK));
        if (!responder.equals("-")) {
            revocation.setOcspResponder(new URI(responder));
        }
        if (nonce > 0) {
            revocation.setOcspExtensions(List.of(new Nonce(nonce)));
        }
        PKIXParameters parameters = new PKIXParameters(Set.of(root));
        parameters.addCertPathChecker(revocation);
        try {
            validator.validate(path, parameters);
            return "good";
        } catch (CertPathValidatorException error) {
            if (error.getCause() instanceof CertificateRevokedException revoked) {
                return "revoked " + revoked.getRevocationReason();
            }
            return "refused " + error;
        }
    }

    private static X509Certificate read(String file) throws Exception {
        try (InputStream in = new FileInputStream(file)) {
            return (X509Certificate) X509.generateCertificate(in);
        }
    }

    private static CertificateFactory factory() {
        try {
            return CertificateFactory.getInstance("X.509");
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    /** id-pkix-ocsp-nonce with fresh octets (RFC 9654 section 2.1), at most 100 so that every length is one octet. */
    private static final class Nonce implements Extension {
        /** 1.3.6.1.5.5.7.48.1.2 */
        private static final byte[] OID = {0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02};

        private final byte[] value;

        Nonce(int length) {
            byte[] octets = new byte[length];
            new SecureRandom().nextBytes(octets);
            value = new byte[length + 2];
            value[0] = 0x04;
            value[1] = (byte) length;
            System.arraycopy(octets, 0, value, 2, length);
        }

        @Override
        public String getId() {
            return "1.3.6.1.5.5.7.48.1.2";
        }

        @Override
        public boolean isCritical() {
            return false;
        }

        @Override
        public byte[] getValue() {
            return value.clone();
        }

        @Override
        public void encode(OutputStream out) throws IOException {
            out.write(new byte[] {0x30, (byte) (OID.length + 2 + value.length)});
            out.write(OID);
            out.write(new byte[] {0x04, (byte) value.length});
            out.write(value);
        }
    }
}
