// Looks at a study with an unmodified viewer, as a radiologist would: opens it, waits for an image, scrolls, and keeps what
// was seen.
//
//   node look.mjs URL FOLDER [nothing]
//
// Prints one line of JSON: how many pictures differed while scrolling, what the viewer wrote over the image, what the browser
// could not load, and every request's status. The pictures are FOLDER/first.png and FOLDER/scrolled.png. It judges
// nothing; where nothing is to be seen, it does not wait for it as long as for an image.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [url, folder, awaited = 'an image'] = process.argv.slice(2);
// Starting on a loaded machine takes long.
const PATIENCE = 90_000;
// After the first answer about the study, where nothing is awaited.
const NOTHING_AFTER = 15_000;
const NOTCHES = 12;

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

// A picture of the image, and its digest.
async function picture(path) {
  const image = page.locator('.cornerstone-canvas, canvas').first();
  const png = await image.screenshot({ path });
  return createHash('sha256').update(png).digest('hex');
}

// How much of it is not black.
async function brightPixels() {
  return page.evaluate(() => {
    const canvas = document.querySelector('canvas.cornerstone-canvas') ?? document.querySelector('canvas');
    if (!canvas || !canvas.width) return 0;
    const copy = document.createElement('canvas');
    copy.width = canvas.width;
    copy.height = canvas.height;
    const context = copy.getContext('2d');
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, copy.width, copy.height);
    let bright = 0;
    for (let at = 0; at < data.length; at += 4) if (data[at] > 40) bright += 1;
    return bright;
  });
}

// Scrolls; how many different pictures there were.
async function scroll() {
  const seen = new Set([await picture(join(folder, 'first.png'))]);
  const box = await page.locator('canvas').first().boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  for (let notch = 0; notch < NOTCHES; notch += 1) {
    await page.mouse.wheel(0, 100);
    await page.waitForTimeout(400);
    seen.add(await picture(join(folder, 'scrolled.png')));
  }
  return seen.size;
}

const outcome = { pictures: 0, bright: 0, overlay: '', complaints, asked };
try {
  await page.goto(url, { timeout: PATIENCE });
  const answered = () => asked.some(([, path]) => path.startsWith('/dicom-web'));
  const until = Date.now() + PATIENCE;
  let answeredAt = 0;
  while (outcome.bright < 1000 && Date.now() < until && !(answeredAt && Date.now() > answeredAt + NOTHING_AFTER)) {
    if (awaited === 'nothing' && !answeredAt && answered()) answeredAt = Date.now();
    await page.waitForTimeout(500);
    outcome.bright = await brightPixels();
  }
  // A first visitor is asked to read something: not now.
  for (const name of [/skip/i, /confirm and hide/i, /dismiss/i]) {
    const button = page.getByRole('button', { name }).first();
    if (await button.isVisible().catch(() => false)) await button.click().catch(() => {});
  }
  if (outcome.bright > 0) outcome.pictures = await scroll();
  outcome.overlay = await page.locator('.viewport-overlay, [data-cy="viewport-pane"]').allInnerTexts().then(all => all.join('\n'));
  await page.screenshot({ path: join(folder, 'page.png') });
} catch (error) {
  complaints.push(String(error));
  await page.screenshot({ path: join(folder, 'page.png') }).catch(() => {});
} finally {
  await browser.close();
}
console.log(JSON.stringify(outcome));
