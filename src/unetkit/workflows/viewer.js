(() => {
  const root = document.getElementById("viewer");
  const source = document.getElementById("viewer-data");
  if (!root || !source) return;
  const { cases, palette } = JSON.parse(source.textContent);
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const canvas = part("canvas");
  const context = canvas.getContext("2d");
  const LONGEST = 1000; // pixels of a drawn slice, the longer side
  const NOTCH = 30; // how far a touch pad rolls for one slice; a wheel turns by 100
  const DIRECTIONS = [["A", "L", "P", "R"], ["S", "L", "I", "R"], ["S", "P", "I", "A"]]; // top, right, bottom, left
  const SIDES = ["top", "right", "bottom", "left"];
  const state = { place: -1, loaded: null, plane: 0, at: 0, zoom: 1, low: 0, high: 255, object: -1, mark: null, wanted: 0, rolled: 0 };
  const kept = new Map();

  async function decode(uri, shape, across) {
    const image = new Image();
    image.src = uri;
    await image.decode();
    const sheet = document.createElement("canvas");
    sheet.width = image.naturalWidth;
    sheet.height = image.naturalHeight;
    const pen = sheet.getContext("2d", { willReadFrequently: true });
    pen.drawImage(image, 0, 0);
    return { data: pen.getImageData(0, 0, sheet.width, sheet.height).data, width: sheet.width, shape, across };
  }

  // Where pixel (z, y, x) lies in the sheet, times four bytes.
  function place(sheet, z, y, x) {
    const [, rows, columns] = sheet.shape;
    const down = Math.floor(z / sheet.across) * rows + y;
    return 4 * (down * sheet.width + (z % sheet.across) * columns + x);
  }

  async function load(number) {
    if (!kept.has(number)) {
      const one = cases[number];
      const names = ["image", "reference", "prediction"];
      const sheets = await Promise.all(names.map((name) => one[name] && decode(one[name], one.shape, one.across)));
      if (kept.size > 2) kept.delete(kept.keys().next().value);
      kept.set(number, Object.fromEntries(names.map((name, index) => [name, sheets[index]])));
    }
    return kept.get(number);
  }

  const oneplane = () => !cases[state.place].planes.length;
  const oriented = () => cases[state.place].planes[0] === "axial";

  // Rows, columns and distances of a plane, and the way from its rows and columns to (z, y, x).
  function geometry() {
    const { shape: [depth, height, width], spacing: [deep, down, across] } = cases[state.place];
    const turn = (row) => (oriented() ? depth - 1 - row : row);
    if (state.plane === 0) return { rows: height, columns: width, down, across, at: (r, c) => [state.at, r, c] };
    if (state.plane === 1) return { rows: depth, columns: width, down: deep, across, at: (r, c) => [turn(r), state.at, c] };
    return { rows: depth, columns: height, down: deep, across: down, at: (r, c) => [turn(r), c, state.at] };
  }

  function labelsOf(sheet, plane) {
    const ids = new Uint8Array(plane.rows * plane.columns);
    for (let r = 0; r < plane.rows; r += 1) {
      for (let c = 0; c < plane.columns; c += 1) ids[r * plane.columns + c] = sheet.data[place(sheet, ...plane.at(r, c))];
    }
    return ids;
  }

  function painted(plane, paint) {
    const sheet = document.createElement("canvas");
    sheet.width = plane.columns;
    sheet.height = plane.rows;
    const pen = sheet.getContext("2d");
    const image = pen.createImageData(plane.columns, plane.rows);
    for (let i = 0; i < plane.rows * plane.columns; i += 1) paint(image.data, 4 * i, i);
    pen.putImageData(image, 0, 0);
    return sheet;
  }

  function pixels(plane) {
    const one = cases[state.place];
    const { image } = state.loaded;
    const width = Math.max(state.high - state.low, 1e-6);
    return painted(plane, (data, to, i) => {
      const from = place(image, ...plane.at(Math.floor(i / plane.columns), i % plane.columns));
      if (one.kind === "colour") {
        data.set(image.data.subarray(from, from + 3), to);
      } else {
        const level = one.kind === "wide" ? image.data[from] * 256 + image.data[from + 1] : image.data[from];
        data[to] = data[to + 1] = data[to + 2] = (255 * (level - state.low)) / width;
      }
      data[to + 3] = 255;
    });
  }

  const colour = (id) => palette[(id - 1) % palette.length];
  const inks = palette.map((text) => [1, 3, 5].map((start) => parseInt(text.slice(start, start + 2), 16)));

  // The edges between pixels of a class and all others, one path per class.
  function outlines(ids, plane, sx, sy) {
    const paths = new Map();
    const get = (r, c) => (r < 0 || c < 0 || r >= plane.rows || c >= plane.columns ? 0 : ids[r * plane.columns + c]);
    for (let r = 0; r < plane.rows; r += 1) {
      for (let c = 0; c < plane.columns; c += 1) {
        const id = ids[r * plane.columns + c];
        if (!id) continue;
        if (!paths.has(id)) paths.set(id, new Path2D());
        const path = paths.get(id);
        const line = (x0, y0, x1, y1) => { path.moveTo(x0 * sx, y0 * sy); path.lineTo(x1 * sx, y1 * sy); };
        if (get(r - 1, c) !== id) line(c, r, c + 1, r);
        if (get(r + 1, c) !== id) line(c, r + 1, c + 1, r + 1);
        if (get(r, c - 1) !== id) line(c, r, c, r + 1);
        if (get(r, c + 1) !== id) line(c + 1, r, c + 1, r + 1);
      }
    }
    return paths;
  }

  // A ring around the object that was asked for, and the part of a magnified plane it lies in.
  function ring(plane, sx, sy) {
    const [z, y, x] = state.mark;
    const turned = oriented() ? cases[state.place].shape[0] - 1 - z : z;
    const [row, column] = [[y, x], [turned, x], [turned, y]][state.plane];
    const [left, top] = [(column + 0.5) * sx, (row + 0.5) * sy];
    for (const [ink, width] of [["rgba(0, 0, 0, 0.6)", 6], ["#ffd400", 3]]) {
      context.beginPath();
      context.arc(left, top, Math.max(LONGEST / 28, 3 * sx), 0, 2 * Math.PI);
      context.lineWidth = width;
      context.strokeStyle = ink;
      context.stroke();
    }
    const screen = part("screen");
    const shown = Math.min(screen.clientWidth / canvas.width, screen.clientHeight / canvas.height) * state.zoom;
    screen.scrollLeft = screen.scrollWidth / 2 + (left - canvas.width / 2) * shown - screen.clientWidth / 2;
    screen.scrollTop = screen.scrollHeight / 2 + (top - canvas.height / 2) * shown - screen.clientHeight / 2;
  }

  // A picture needs no black beside it; the planes of a volume keep one height, so that nothing jumps.
  function fit() {
    const screen = part("screen");
    const whole = (screen.clientWidth * canvas.height) / canvas.width;
    screen.style.height = oneplane() && whole ? `min(${whole}px, 72vh, 640px)` : "";
  }

  function draw() {
    const one = cases[state.place];
    const plane = geometry();
    const finest = LONGEST / Math.max(plane.rows * plane.down, plane.columns * plane.across);
    canvas.width = Math.max(1, Math.round(plane.columns * plane.across * finest));
    canvas.height = Math.max(1, Math.round(plane.rows * plane.down * finest));
    const [sx, sy] = [canvas.width / plane.columns, canvas.height / plane.rows];
    context.imageSmoothingEnabled = true;
    context.drawImage(pixels(plane), 0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = false;
    const shown = (name) => state.loaded[name] && part(name).checked;
    if (shown("prediction")) {
      const ids = labelsOf(state.loaded.prediction, plane);
      const opacity = 255 * Number(part("fill").value);
      context.drawImage(painted(plane, (data, to, i) => {
        if (!ids[i]) return;
        [data[to], data[to + 1], data[to + 2]] = inks[(ids[i] - 1) % inks.length];
        data[to + 3] = opacity;
      }), 0, 0, canvas.width, canvas.height);
    }
    if (shown("reference")) {
      context.setLineDash([7, 4]);
      for (const path of outlines(labelsOf(state.loaded.reference, plane), plane, sx, sy).values()) {
        context.lineWidth = 4;
        context.strokeStyle = "rgba(0, 0, 0, 0.55)";
        context.stroke(path);
        context.lineWidth = 2;
        context.strokeStyle = "#fff";
        context.stroke(path);
      }
      context.setLineDash([]);
    }
    if (shown("prediction")) {
      context.lineWidth = 2.5;
      for (const [id, path] of outlines(labelsOf(state.loaded.prediction, plane), plane, sx, sy)) {
        context.strokeStyle = colour(id);
        context.stroke(path);
      }
    }
    const [first, step, total] = one.numbers[state.plane];
    const name = one.planes.length ? `${one.planes[state.plane]} ${first + step * state.at} of ${total}` : "";
    part("where").textContent = name;
    canvas.setAttribute("aria-label", `${one.title} ${name}`);
    part("at").value = state.at;
    canvas.style.width = canvas.style.height = `${100 * state.zoom}%`;
    fit();
    if (state.mark) ring(plane, sx, sy);
    part("size").textContent = `${Math.round(100 * state.zoom)} %`;
    SIDES.forEach((side, index) => { part(side).textContent = oriented() ? DIRECTIONS[state.plane][index] : ""; });
  }

  function levels(low, high) {
    [state.low, state.high] = [low, high];
    const one = cases[state.place];
    const value = (level) => level * one.scale + one.offset;
    part("level").value = (low + high) / 2;
    part("width").value = high - low;
    const short = (number) => String(Number(number.toPrecision(4)));
    part("values").textContent = `level ${short(value((low + high) / 2))}, width ${short((high - low) * one.scale)}`;
  }

  function choose(plane, at, mark = null) {
    const one = cases[state.place];
    state.mark = mark;
    state.plane = plane;
    state.at = Math.min(Math.max(at, 0), one.shape[plane] - 1);
    part("plane").value = plane;
    part("at").max = one.shape[plane] - 1;
    draw();
  }

  async function open(number, at) {
    const before = state.place;
    state.wanted = number;
    const loaded = await load(number);
    if (state.wanted !== number) return; // another case was asked for meanwhile
    const one = cases[number];
    Object.assign(state, { place: number, loaded, zoom: before === number ? state.zoom : 1 });
    part("case").value = number;
    if (before !== number) {
      const names = one.planes.map((name, index) => new Option(name, index));
      part("plane").replaceChildren(...names);
      part("window").replaceChildren(...one.windows.map((each, index) => new Option(each.name, index)));
      const most = one.windows.length ? Math.max(...one.windows.map((each) => each.high), 255) : 255;
      part("level").min = 0;
      part("level").max = part("width").max = most;
      part("width").min = most / 255;
      const grey = one.windows.length > 0;
      for (const name of ["windows", "levels", "widths", "values"]) part(name).hidden = !grey;
      for (const name of ["planes", "slices"]) part(name).hidden = !names.length;
      part("words").textContent = one.words && `Shown: ${one.words}.`;
      if (grey) levels(one.windows[0].low, one.windows[0].high);
    }
    choose(at ? state.plane : one.plane, at ? at[state.plane] : one.best, at);
  }

  const step = (by) => choose(state.plane, state.at + by);
  function zoom(by) {
    state.zoom = Math.min(Math.max(state.zoom * by, 1), 8);
    draw();
  }

  const objects = Array.from(document.querySelectorAll("button[data-at]"));
  function show(button) {
    const at = button.dataset.at && button.dataset.at.split(",").map(Number);
    state.object = objects.indexOf(button);
    const number = Number(button.dataset.open);
    if (at && number !== state.place) state.plane = cases[number].plane;
    return open(number, at);
  }

  part("case").addEventListener("change", (event) => open(Number(event.target.value)));
  part("plane").addEventListener("change", (event) => {
    const plane = Number(event.target.value);
    choose(plane, Math.floor(cases[state.place].shape[plane] / 2));
  });
  part("at").addEventListener("input", (event) => choose(state.plane, Number(event.target.value)));
  part("window").addEventListener("change", (event) => {
    const { low, high } = cases[state.place].windows[Number(event.target.value)];
    levels(low, high);
    draw();
  });
  for (const name of ["level", "width"]) {
    part(name).addEventListener("input", () => {
      const [level, width] = [Number(part("level").value), Number(part("width").value)];
      levels(level - width / 2, level + width / 2);
      draw();
    });
  }
  for (const name of ["fill", "prediction", "reference"]) part(name).addEventListener("input", draw);
  part("in").addEventListener("click", () => zoom(1.5));
  part("out").addEventListener("click", () => zoom(1 / 1.5));
  part("screen").addEventListener("wheel", (event) => {
    if (event.ctrlKey) {
      zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
    } else {
      const last = cases[state.place].shape[state.plane] - 1;
      if (event.deltaY < 0 ? state.at === 0 : state.at === last) return; // the page scrolls on
      state.rolled = Math.sign(state.rolled) === Math.sign(event.deltaY) ? state.rolled + event.deltaY : event.deltaY;
      if (Math.abs(state.rolled) >= NOTCH) {
        step(Math.sign(event.deltaY));
        state.rolled = 0;
      }
    }
    event.preventDefault();
  }, { passive: false });
  const toggle = (name) => { part(name).checked = !part(name).checked; draw(); };
  const keys = {
    ArrowUp: () => step(-1), ArrowDown: () => step(1), PageUp: () => step(-10), PageDown: () => step(10),
    Home: () => choose(state.plane, 0), End: () => choose(state.plane, Infinity),
    ArrowLeft: () => open(Math.max(state.wanted - 1, 0)),
    ArrowRight: () => open(Math.min(state.wanted + 1, cases.length - 1)),
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5),
    p: () => toggle("prediction"), r: () => toggle("reference"),
    n: () => objects.length && show(objects[(state.object + 1) % objects.length]),
  };
  part("screen").addEventListener("keydown", (event) => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!(key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[key]();
  });
  document.querySelectorAll("button[data-open]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await show(button);
      root.scrollIntoView({ block: "start" });
      part("screen").focus({ preventScroll: true });
    });
  });
  open(0).then(() => {
    root.hidden = false;
    fit();
    window.addEventListener("resize", draw);
    root.dataset.ready = "yes";
  });
})();
