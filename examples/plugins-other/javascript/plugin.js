// Makes slugs of titles, for the paths of web pages: an example of a plugin in JavaScript.
//
// It becomes a component with an engine in it: StarlingMonkey (`componentize-js`) or QuickJS (`componentize-qjs`).

import { log } from 'bivium:plugin/host@0.1.0';

const schema = {
  type: 'object',
  properties: { separator: { type: 'string', default: '-', maxLength: 3 } },
  additionalProperties: false,
};

let separator = '-';

// A case of the world's `error`, as its variants are written in JavaScript.
function fail(tag, message) {
  throw { tag, val: message };
}

// Neither engine comes with tables of Unicode: `normalize` would trap in one of them.
const letters = { ä: 'ae', ö: 'oe', ü: 'ue', ß: 'ss', é: 'e', è: 'e', à: 'a', ç: 'c' };

function slug(title) {
  const plain = title.toLowerCase().replace(/[^\x00-\x7f]/g, (letter) => letters[letter] ?? '');
  return plain.split(/[^a-z0-9]+/).filter((word) => word !== '').join(separator);
}

function titles(method, input) {
  if (method !== 'execute') fail('not-found', `there is no method ${JSON.stringify(method)}`);
  const { titles, title } = JSON.parse(input.json);
  const all = titles ?? [title];
  if (!Array.isArray(all) || all.some((one) => typeof one !== 'string')) {
    fail('invalid-input', 'give a string as `title`, or a list of strings as `titles`');
  }
  return all;
}

const payload = (value) => ({ json: JSON.stringify(value), blobs: [] });

// One slug at a time, each made when it is asked for.
class PayloadStream {
  constructor(titles) {
    this.titles = titles;
  }

  next() {
    const title = this.titles.shift();
    return title === undefined ? undefined : payload({ slug: slug(title) });
  }
}

export const guest = {
  PayloadStream,
  describe: () => ({ name: 'slug', version: '0.1.0', summary: 'Makes slugs of titles.', methods: [] }),
  configSchema: () => JSON.stringify(schema),
  initialize(config) {
    separator = JSON.parse(config)?.separator ?? '-';
  },
  currentConfig: () => JSON.stringify({ separator }),
  execute(method, input) {
    const slugs = titles(method, input).map(slug);
    log('debug', `${slugs.length} slugs`);
    return payload({ slugs });
  },
  executeStream: (method, input) => new PayloadStream(titles(method, input)),
  cleanup() {},
};
