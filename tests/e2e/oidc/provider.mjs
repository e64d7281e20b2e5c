// An OpenID Connect issuer for the login test, with one client; any name and password get in.
//
//   node provider.mjs ISSUER REDIRECT_URI CLIENT_ID CLIENT_SECRET
//
// It prints "ready" once it listens, and ends with its input.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';

const [issuer, redirectUri, clientId, clientSecret] = process.argv.slice(2);
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const LOGIN_S = 300;

// What the directory knows of a user: "bob-broken" has been given something that is no tag.
function tagsOf(name) {
  return name === 'bob-broken' ? ['admins'] : ['topic:builds/*', `topic:team-of-${name}`];
}

const provider = new Provider(issuer, {
  clients: [{
    client_id: clientId,
    client_secret: clientSecret,
    redirect_uris: [redirectUri],
    grant_types: ['authorization_code'],
    response_types: ['code'],
  }],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'first' }] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  claims: { openid: ['sub', 'carillon_tags'], profile: ['name'], email: ['email'] },
  // Claims of the scopes go into the ID token itself, not only to /userinfo.
  conformIdTokenClaims: false,
  pkce: { required: () => true, methods: ['S256'] },
  features: { devInteractions: { enabled: true } },
  ttl: {
    AccessToken: LOGIN_S, AuthorizationCode: 60, Grant: LOGIN_S, IdToken: LOGIN_S, Interaction: LOGIN_S, Session: LOGIN_S,
  },
  findAccount: (_, name) => ({ accountId: name, claims: () => ({ sub: name, carillon_tags: tagsOf(name) }) }),
});

provider.listen(Number(new URL(issuer).port), '127.0.0.1', () => console.log('ready'));
process.stdin.resume().on('end', () => process.exit(0));
