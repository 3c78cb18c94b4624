"""Who a request is made for, from its CAMS-HTTP-ASSERTION. Needs PyJWT[crypto]."""

import jwt


class Verifier:
    """Verifies the assertions of one site, the origin of which people see in their browsers."""

    def __init__(self, site: str, ssl_context=None):
        self.site = site
        # Fetches the keys again when it meets a new one, and keeps them for five minutes.
        self.keys = jwt.PyJWKClient(f"{site}/cams/jwks.json", lifespan=300, ssl_context=ssl_context)

    def person(self, assertion: str) -> dict:
        """The claims, or a jwt.PyJWTError: then the request did not come through the web agent, or not now."""
        key = self.keys.get_signing_key_from_jwt(assertion)
        return jwt.decode(
            assertion,
            key.key,
            algorithms=["ES256"],  # never what the token itself names
            audience=self.site,
            leeway=10,
            options={"require": ["iss", "aud", "sub", "iat", "exp", "sid"]},
        )
