// Numbers for people.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const two = new Intl.NumberFormat("en", {
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
  signDisplay: "negative", // no minus before a zero
});

const withMinus = (text) => text.replace("-", "−");

export const count = (value) => whole.format(value);
export const counted = (value, noun) => `${whole.format(value)} ${noun}${value === 1 ? "" : "s"}`;
export const reward = (value) => (value === null ? "–" : withMinus(two.format(value)));
export const dollars = (value) => `$${three.format(value)}`;
export const milliseconds = (value) => `${value < 10 ? three.format(value) : whole.format(value)} ms`;
export const seconds = (value) => (value > 0 && value < 1 ? milliseconds(value * 1000) : `${three.format(value)} s`);
export const times = (value) => `${three.format(value)}×`;
export const percent = (value) => `${whole.format(value * 100)}\u00a0%`;
export const plain = (value) => withMinus(three.format(value));
