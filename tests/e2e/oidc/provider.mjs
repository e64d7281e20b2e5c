// An OpenID Connect issuer for the login test, with one client; any name and password get in.
//
//   node provider.mjs ISSUER CLIENT_ID CLIENT_SECRET REDIRECT_URI...
//
// It prints "ready" once it listens, and ends with its input.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';

const [issuer, clientId, clientSecret, ...redirectUris] = process.argv.slice(2);
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const LOGIN_S = 300;

// What the directory knows of a user: "bob-broken" has been given something that is no tag.
function tagsOf(name) {
  return name === 'bob-broken' ? ['admins'] : ['topic:builds/*', `topic:team-of-${name}`];
}

// "vera-viewer" is a viewer, "olga-operator" an operator, and the others are neither.
function rolesOf(name) {
  const [, role] = name.split('-');
  return ['viewer', 'operator'].includes(role) ? [`carillon-${role}`] : ['staff'];
}

const provider = new Provider(issuer, {
  clients: [{
    client_id: clientId,
    client_secret: clientSecret,
    redirect_uris: redirectUris,
    grant_types: ['authorization_code'],
    response_types: ['code'],
  }],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'first' }] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  claims: { openid: ['sub', 'carillon_tags', 'roles'], profile: ['name'], email: ['email'] },
  // Claims of the scopes go into the ID token itself, not only to /userinfo.
  conformIdTokenClaims: false,
  pkce: { required: () => true, methods: ['S256'] },
  features: { devInteractions: { enabled: true } },
  ttl: {
    AccessToken: LOGIN_S, AuthorizationCode: 60, Grant: LOGIN_S, IdToken: LOGIN_S, Interaction: LOGIN_S, Session: LOGIN_S,
  },
  findAccount: (_, sub) => ({
    accountId: sub,
    claims: () => ({ sub, name: sub.split('-')[0], carillon_tags: tagsOf(sub), roles: rolesOf(sub) }),
  }),
});

provider.listen(Number(new URL(issuer).port), '127.0.0.1', () => console.log('ready'));
process.stdin.resume().on('end', () => process.exit(0));
