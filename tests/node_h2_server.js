// Node's HTTP/2 server, with TLS and without. Usage: node_h2_server.js KEY CERTIFICATE FOLDER
// Prints a line `listening {"tls": port, "plain": port}`, and ends when it is told to (SIGTERM).
'use strict';

const fs = require('node:fs');
const http2 = require('node:http2');
const path = require('node:path');
const {pipeline} = require('node:stream');

const [key, certificate, folder] = process.argv.slice(2);
const {HTTP2_HEADER_METHOD: METHOD, HTTP2_HEADER_PATH: PATH, HTTP2_HEADER_STATUS: STATUS} = http2.constants;

// By the first segment of the path; the second one is the argument.
const routes = {
  // Sends back each piece as it comes.
  echo(stream) {
    stream.respond({[STATUS]: 200});
    stream.pipe(stream);
  },

  trailers(stream) {
    stream.respond({[STATUS]: 200}, {waitForTrailers: true});
    stream.on('wantTrailers', () => stream.sendTrailers({'x-trailer': 'last'}));
    stream.end('Hello, world!');
  },

  hints(stream) {
    stream.additionalHeaders({[STATUS]: 103, link: '</style.css>; rel=preload; as=style'});
    stream.respond({[STATUS]: 200});
    stream.end('Hello, world!');
  },

  // Resets the stream with that error code, before there is a response.
  reset(stream, code) {
    stream.close(Number(code));
  },

  // Resets it in the middle of the content: INTERNAL_ERROR.
  cut(stream) {
    stream.respond({[STATUS]: 200, 'content-length': 1000});
    stream.write('begun', () => stream.destroy(new Error('cut')));
  },

  // Refuses the stream, the first time that name is asked for.
  refuse(stream, name) {
    if (isNew(name)) {
      stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    stream.respond({[STATUS]: 200});
    stream.end('after a refusal');
  },

  // GOAWAY, and then the response of the stream that is open.
  goaway(stream) {
    stream.session.goaway(http2.constants.NGHTTP2_NO_ERROR, stream.id);
    stream.respond({[STATUS]: 200});
    stream.end('Hello, world!');
  },

  // GOAWAY that leaves out this stream (not the first of its connection: Node takes 0 for "the last there was"), the
  // first time that name is asked for; the response, on another connection.
  left(stream, name) {
    if (stream.id > 1 && isNew(name)) {
      stream.session.goaway(http2.constants.NGHTTP2_NO_ERROR, stream.id - 2);
      return;
    }
    stream.respond({[STATUS]: 200});
    stream.end('after GOAWAY');
  },
};

const names = new Set();

function isNew(name) {
  const found = names.has(name);
  names.add(name);
  return !found;
}

function serve(stream, headers) {
  stream.on('error', () => {}); // the client may go at any time
  const [name, argument] = headers[PATH].slice(1).split('/');
  if (Object.hasOwn(routes, name)) {
    routes[name](stream, argument);
    return;
  }
  // Not by respondWithFile: Node 20 dies of a segmentation fault when clients reset what it sends.
  const file = path.join(folder, name);
  stream.respond({[STATUS]: 200, 'content-length': fs.statSync(file).size});
  if (headers[METHOD] === 'HEAD') {
    stream.end();
  } else {
    pipeline(fs.createReadStream(file), stream, () => {});
  }
}

const servers = {
  tls: http2.createSecureServer({key: fs.readFileSync(key), cert: fs.readFileSync(certificate)}),
  plain: http2.createServer(),
};
const listening = Object.entries(servers).map(([name, server]) => new Promise((resolve) => {
  server.on('stream', serve);
  server.on('sessionError', () => {});
  server.listen(0, '127.0.0.1', () => resolve([name, server.address().port]));
}));
Promise.all(listening).then((ports) => console.log(`listening ${JSON.stringify(Object.fromEntries(ports))}`));
