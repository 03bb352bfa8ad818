// Looks at a study with an unmodified viewer, as a radiologist would: opens it, waits for an image, scrolls, and keeps what
// was seen.
//
//   node look.mjs URL FOLDER [nothing]
//
// Prints one line of JSON: of the first picture and of that after each notch, what the canvas itself shows, without what is
// written over it (how many pixels are not black, and the mean gray of each field of a grid laid over the largest square in its
// middle); what the viewer wrote over the image, what the browser could not load, and every request's status. The pictures are
// FOLDER/first.png and FOLDER/scrolled.png. It judges nothing; where nothing is to be seen, it does not wait for it as long
// as for an image.
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [url, folder, awaited = 'an image'] = process.argv.slice(2);
// Starting on a loaded machine takes long.
const PATIENCE = 90_000;
// After the first answer about the study, where nothing is awaited.
const NOTHING_AFTER = 15_000;
const NOTCHES = 12;
const NOTCH_WITHIN = 10_000;
// Of the grid, in a row.
const FIELDS = 32;

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--disable-dev-shm-usage',
  ],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
const asked = [];
const complaints = [];
page.on('response', response => asked.push([response.status(), new URL(response.url()).pathname]));
page.on('requestfailed', request => complaints.push(`${request.url()}: ${request.failure()?.errorText}`));
page.on('pageerror', error => complaints.push(String(error)));

// A picture of the page where the image is, for people.
async function picture(path) {
  await page.locator('.cornerstone-canvas, canvas').first().screenshot({ path });
}

// What the canvas shows.
async function seen() {
  return page.evaluate(fields => {
    const canvas = document.querySelector('canvas.cornerstone-canvas') ?? document.querySelector('canvas');
    if (!canvas || !canvas.width) return { bright: 0, grid: [] };
    const copy = document.createElement('canvas');
    copy.width = canvas.width;
    copy.height = canvas.height;
    const context = copy.getContext('2d', { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, copy.width, copy.height);
    const gray = (x, y) => data[(y * copy.width + x) * 4];
    let bright = 0;
    for (let at = 0; at < data.length; at += 4) if (data[at] > 40) bright += 1;
    const side = Math.min(copy.width, copy.height);
    const [left, top] = [(copy.width - side) / 2, (copy.height - side) / 2];
    const edge = field => Math.round((side * field) / fields);
    const grid = [];
    for (let row = 0; row < fields; row += 1) {
      for (let column = 0; column < fields; column += 1) {
        let [sum, count] = [0, 0];
        for (let y = edge(row); y < edge(row + 1); y += 1) {
          for (let x = edge(column); x < edge(column + 1); x += 1) {
            sum += gray(Math.floor(left) + x, Math.floor(top) + y);
            count += 1;
          }
        }
        grid.push(Math.round((10 * sum) / count) / 10);
      }
    }
    return { bright, grid };
  }, FIELDS);
}

// Scrolls, notch by notch; waits for another picture after each, if not for ever.
async function scroll() {
  await picture(join(folder, 'first.png'));
  const shown = [await seen()];
  const box = await page.locator('canvas').first().boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  for (let notch = 0; notch < NOTCHES; notch += 1) {
    await page.mouse.wheel(0, 100);
    const before = JSON.stringify(shown.at(-1));
    const until = Date.now() + NOTCH_WITHIN;
    let now = before;
    while (now === before && Date.now() < until) {
      await page.waitForTimeout(100);
      now = JSON.stringify(await seen());
    }
    shown.push(JSON.parse(now));
  }
  await picture(join(folder, 'scrolled.png'));
  return shown;
}

const outcome = { shown: [], bright: 0, overlay: '', complaints, asked };
try {
  await page.goto(url, { timeout: PATIENCE });
  const answered = () => asked.some(([, path]) => path.startsWith('/dicom-web'));
  const until = Date.now() + PATIENCE;
  let answeredAt = 0;
  while (outcome.bright < 1000 && Date.now() < until && !(answeredAt && Date.now() > answeredAt + NOTHING_AFTER)) {
    if (awaited === 'nothing' && !answeredAt && answered()) answeredAt = Date.now();
    await page.waitForTimeout(500);
    outcome.bright = (await seen()).bright;
  }
  // A first visitor is asked to read something: not now.
  for (const name of [/skip/i, /confirm and hide/i, /dismiss/i]) {
    const button = page.getByRole('button', { name }).first();
    if (await button.isVisible().catch(() => false)) await button.click().catch(() => {});
  }
  if (outcome.bright > 0) outcome.shown = await scroll();
  outcome.overlay = await page.locator('.viewport-overlay, [data-cy="viewport-pane"]').allInnerTexts().then(all => all.join('\n'));
  await page.screenshot({ path: join(folder, 'page.png') });
} catch (error) {
  complaints.push(String(error));
  await page.screenshot({ path: join(folder, 'page.png') }).catch(() => {});
} finally {
  await browser.close();
}
console.log(JSON.stringify(outcome));
