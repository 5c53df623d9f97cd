// The figures of the playground (23_playground.ipynb) that answer to the reader. What they compute comes first, and is
// compared with the package by tests/test_playground.py; how they look comes after. Nothing is loaded from anywhere.
(() => {
'use strict'

// ---- arrays

const range = n => [...Array(n).keys()]
const grid = (rows, columns, cell) => range(rows).map(i => range(columns).map(j => cell(i, j)))
const transpose = G => G[0].map((_, j) => G.map(row => row[j]))
const ones = row => range(row.length).filter(j => row[j])
const sum = xs => xs.reduce((a, b) => a + b, 0)
const mean = xs => sum(xs) / xs.length
const dot = (x, y) => sum(x.map((v, n) => v * y[n]))
const scaled = (x, by) => x.map(v => v * by)


// ---- graphs: rows are children, columns parents; a graph without edges, or without columns, asks for nothing

const diagonal = d => grid(d, d, (i, j) => +(i == j))
const doubleDiagonal = d => grid(d, d, (i, j) => +(i == j || i == (j + 1) % d))
const lowerTriangular = d => grid(d, d, (i, j) => +(i >= j))
const halves = d => grid(d, d, (i, j) => +(2 * i < d == 2 * j < d))
const pairs = d => grid(d, d, (i, j) => +(i >> 1 == j >> 1))
const actionPairs = d => grid(d, d / 2, (i, j) => +(i >> 1 == j))
const actionPairsShared = d => grid(d, d / 2, (i, j) => +(i >> 1 == j || i >= d - 2 && j == 0))
const timePairsCoupled = d => {
    const last = d / 2 - 1, coupled = [[0, last], [last, 0], [last, d >> 2]].map(String)
    return grid(d, d, (i, j) => +(i >> 1 == j >> 1 || coupled.includes(String([i >> 1, j >> 1]))))
}

// [i][j]: is row i, read as a set, a subset of row j?
const rowsIncluded = G => grid(G.length, G.length, (i, j) => G[i].every((cell, k) => cell <= G[j][k]))

// [i][j] = 1 iff latent i may stay mixed with latent j
function consistencyPattern(Gz, Ga) {
    const parts = [Gz, transpose(Gz), Ga].map(rowsIncluded)
    return grid(Gz.length, Gz.length, (i, j) => +parts.every(part => part[i][j]))
}

const satisfiesCriterion = (Gz, Ga) => sum(consistencyPattern(Gz, Ga).flat()) == Gz.length

// All sets that the criterion may use for latent i: each contains it
function setsAround(i, Gz, Ga) {
    const ChZ = transpose(Gz), ChA = Ga[0].map((_, l) => Ga.map(row => row[l]))
    return [...ones(ChZ[i]).map(j => ({what: 'parents', of: ['z', j], members: ones(Gz[j])})),
            ...ones(Gz[i]).map(j => ({what: 'children', of: ['z', j], members: ones(ChZ[j])})),
            ...ones(Ga[i]).map(l => ({what: 'children', of: ['a', l], members: ones(ChA[l])}))]
}

// A few sets whose intersection is as small as it gets
function isolate(i, Gz, Ga) {
    const around = setsAround(i, Gz, Ga), chosen = []
    let left = range(Gz.length)
    for (;;) {
        const cuts = around.map(set => left.filter(j => set.members.includes(j)))
        const smallest = Math.min(...cuts.map(cut => cut.length), left.length)
        if (smallest == left.length) return {chosen, left}
        const best = cuts.findIndex(cut => cut.length == smallest)
        chosen.push(around[best])
        left = cuts[best]
    }
}

function promise(P) {
    const mixed = P.filter(row => sum(row) > 1).length
    return mixed ? `${mixed} of ${P.length} latents may stay mixed` : 'disentangled, up to order and scale'
}


// ---- metrics; z and zHat are lists of columns, one a latent

const ROUNDING = 1e-12  // relative size below which a difference is taken for rounding

// A column with mean 0 and length 1, or all 0 where it is constant
function unit(x) {
    const size = Math.max(...x.map(Math.abs)) || 1, centre = mean(scaled(x, 1 / size))
    const centred = x.map(v => v / size - centre), length = Math.sqrt(dot(centred, centred))
    return scaled(centred, length > ROUNDING * Math.sqrt(x.length) ? 1 / length : 0)
}

function correlations(z, zHat) {
    const [units, unitsHat] = [z.map(unit), zHat.map(unit)]
    return units.map(x => unitsHat.map(y => Math.max(-1, Math.min(1, dot(x, y)))))
}

// The best one-to-one assignment, after learned latents `taken` for the first true ones; all are tried, for few latents
function match(correlation, taken = []) {
    const row = correlation[taken.length]
    if (!row) return {total: 0, assignment: taken}
    const tries = range(row.length).filter(j => !taken.includes(j)).map(j => {
        const {total, assignment} = match(correlation, [...taken, j])
        return {total: total + Math.abs(row[j]), assignment}
    })
    return tries.reduce((a, b) => b.total > a.total ? b : a)
}

function mcc(z, zHat) {
    const correlation = correlations(z, zHat), {total, assignment} = match(correlation)
    return {score: total / z.length, assignment, correlation}
}

// Mean multiple correlation of each true latent with all learned ones, by an orthogonal basis of these
function rScore(z, zHat) {
    const basis = []
    for (const x of zHat.map(unit)) {
        const rest = basis.reduce((left, q) => { const by = dot(left, q); return left.map((v, n) => v - by * q[n]) }, x)
        const length = Math.sqrt(dot(rest, rest))
        if (length > 1e-9) basis.push(scaled(rest, 1 / length))
    }
    return mean(z.map(unit).map(x => Math.sqrt(Math.min(1, sum(basis.map(q => dot(q, x) ** 2))))))
}

// True and learned cells by agreement; an edge is learned where its effect is above the threshold
function compareGraphs(G, effects, threshold) {
    const count = test => sum(G.flatMap((row, i) => row.map((cell, j) => +test(cell == 1, effects[i][j] > threshold))))
    const hits = count((a, b) => a && b), missed = count((a, b) => a && !b), spurious = count((a, b) => !a && b)
    const ratio = (part, whole) => whole ? part / whole : 1
    return {hits, missed, spurious, shd: missed + spurious,
            precision: ratio(hits, hits + spurious), recall: ratio(hits, hits + missed)}
}


// ---- data: two latents, driven by their past (columns 0 and 1 of G) and by three actions (columns 2 to 4)

// Uniform numbers between 0 and 1 by Lehmer's generator, the same ones everywhere
function generator(seed) {
    let state = seed
    return () => (state = state * 48271 % 2147483647) / 2147483647
}
const normal = uniform => sum(range(12).map(() => uniform())) - 6

const MECHANISMS = {
    sines: {value: (u, i) => Math.sin((i + 3) / Math.PI * u + i),
            slope: (u, i) => (i + 3) / Math.PI * Math.cos((i + 3) / Math.PI * u + i)},
    lines: {value: (u, i, j) => i && j % 2 ? -u : u, slope: (u, i, j) => i && j % 2 ? -1 : 1},
}
const EXAMPLES = 200, NOISE = .3

function inputs(seed = 2022) {
    const uniform = generator(seed), columns = (n, draw) => range(n).map(() => range(EXAMPLES).map(draw))
    return {u: [...columns(2, () => normal(uniform)), ...columns(3, () => 4 * uniform() - 2)],
            noise: columns(2, () => NOISE * normal(uniform))}
}

// Latents, and slopes[i][j]: the derivative of the mean of latent i by input j, at each example
function simulate(G, kind, {u, noise} = inputs()) {
    const {value, slope} = MECHANISMS[kind]
    const z = noise.map((column, i) => column.map((e, n) => e + sum(ones(G[i]).map(j => value(u[j][n], i, j)))))
    return {z, slopes: grid(2, 5, (i, j) => u[j].map(v => G[i][j] * slope(v, i, j)))}
}

const rotation = degrees => {
    const [c, s] = [Math.cos(degrees * Math.PI / 180), Math.sin(degrees * Math.PI / 180)]
    return [[c, s], [-s, c]]
}
const combine = ([a, b], [x, y]) => x.map((v, n) => a * v + b * y[n])
const turn = (columns, degrees) => rotation(degrees).map(row => combine(row, columns))

// Root mean squares of the slopes of the turned latents, whose past is turned as well
function turnedEffects(slopes, degrees) {
    const R = rotation(degrees), rms = x => Math.sqrt(dot(x, x) / x.length)
    const turned = grid(2, 5, (i, j) => combine(R[i], [slopes[0][j], slopes[1][j]]))
    return grid(2, 5, (i, j) => rms(j < 2 ? combine(R[j], turned[i]) : turned[i][j]))
}
const countEdges = effects => effects.flat().filter(size => size > 1e-9).length

const ANGLES = range(181).map(k => k - 45)

function sweep({z, slopes}) {
    return ANGLES.map(angle => {
        const zHat = turn(z, angle)
        return {angle, mcc: mcc(z, zHat).score, r: rScore(z, zHat), edges: countEdges(turnedEffects(slopes, angle))}
    })
}

// The effects of a graph, measured with errors
function measure(G, error, seed) {
    const uniform = generator(seed), strengths = G.map(row => row.map(cell => cell * (.3 + .7 * uniform())))
    return strengths.map(row => row.map(strength => Math.abs(strength + error * normal(uniform))))
}


// ---- words

const listed = words => words.length > 1 ? `${words.slice(0, -1).join(', ')} and ${words.at(-1)}` : words.join('')
const set = (members, names) => `{${members.map(j => names[j]).join(', ')}}`

// What a pattern says: first latents that are alike, then one-way relations
function patternWords(P, names) {
    const alike = P.map((row, i) => ones(row).filter(j => P[j][i]))
    const groups = alike.filter((group, i) => group.length > 1 && group[0] == i)
    const both = groups.map(group => `${listed(group.map(j => names[j]))} may stay mixed with each other: `
                                     + 'they have the same causes and the same effects.')
    const oneWay = P.map((row, i) => ones(row).filter(j => !P[j][i])).flatMap((others, i) => others.length ? [
        `${names[i]} may stay mixed with ${listed(others.map(j => names[j]))}, but not the other way round: `
        + `every cause and every effect of ${names[i]} is one of ${listed(others.map(j => names[j]))}, too.`
    ] : [])
    return [...both, ...oneWay]
}

// Which sets point at latent i, and what they have in common
function setWords(i, Gz, Ga, latents, actions) {
    const {chosen, left} = isolate(i, Gz, Ga)
    if (!chosen.length) return `${latents[i]}: no set leaves any latent out`
    const name = {z: latents, a: actions}
    const sets = chosen.map(({what, of: [kind, j], members}) => `${what} of ${name[kind][j]} ${set(members, latents)}`)
    return `${latents[i]}: ${sets.join(' ∩ ')}` + (sets.length > 1 ? ` = ${set(left, latents)}` : '')
}

// Where the learned graph has the fewest edges
function leastWords(curve) {
    const least = Math.min(...curve.map(point => point.edges)), at = curve.filter(point => point.edges == least)
    if (at.length == curve.length) return `The number of edges is ${least} at every angle: it settles nothing.`
    const scores = at.map(point => point.mcc.toFixed(2)).sort(), [low, high] = [scores[0], scores.at(-1)]
    return `Fewest edges: ${least}, at ${listed(at.map(point => degrees(point.angle)))}, where the MCC is `
         + (low == high ? `${low}.` : `${low} to ${high}.`)
}
const degrees = angle => `${angle}°`.replace('-', '−')


// ---- elements

const SVG = new Set(['svg', 'g', 'path', 'line', 'rect', 'circle', 'text'])

function make(tag, attributes = {}, ...children) {
    const element = SVG.has(tag) ? document.createElementNS('http://www.w3.org/2000/svg', tag)
                                 : document.createElement(tag)
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
    element.append(...children)
    return element
}

function choice(label, options, chosen, changed) {  // options: value -> text
    const select = make('select', {}, ...options.map(([value, text]) => make('option', {value}, text)))
    select.value = chosen
    select.addEventListener('change', () => changed(select.value))
    return {element: make('label', {}, label + ' ', select), select}
}

function slider(label, attributes, text, moved) {
    const input = make('input', {type: 'range', ...attributes}), shown = make('output')
    const show = () => {
        shown.textContent = text(+input.value)
        input.setAttribute('aria-valuetext', shown.textContent)
    }
    input.addEventListener('input', () => { show(); moved(+input.value) })
    show()
    return make('label', {class: 'play-slider'}, make('span', {}, label), input, shown)
}

const ARROWS = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}

// A graph as a table; `press(i, j)` makes its cells buttons, of which arrow keys reach all and the tab key one
function table(caption, G, rows, columns, press, content = () => '') {
    const cell = (i, j) => press
        ? make('button', {type: 'button', 'aria-pressed': G[i][j] == 1, 'aria-label': `${columns[j]} drives ${rows[i]}`,
                          tabindex: i || j ? -1 : 0})
        : make('span', {style: `--size: ${G[i][j]}`}, content(i, j))
    const cells = grid(G.length, columns.length, cell)
    if (press) cells.forEach((row, i) => row.forEach((button, j) => {
        button.addEventListener('click', () => button.setAttribute('aria-pressed', press(i, j) == 1))
        button.addEventListener('keydown', event => {
            const [down, right] = ARROWS[event.key] ?? [], next = cells[i + down]?.[j + right]
            if (!next) return
            event.preventDefault()
            button.tabIndex = -1
            next.tabIndex = 0
            next.focus()
        })
    }))
    return make('table', {},
        make('caption', {}, caption),
        make('thead', {}, make('tr', {}, make('td'), ...columns.map(name => make('th', {scope: 'col'}, name)))),
        make('tbody', {}, ...cells.map((row, i) => make('tr', {}, make('th', {scope: 'row'}, rows[i]),
                                                        ...row.map(button => make('td', {}, button))))))
}

const line = points => 'M' + points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')
const dots = points => points.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join('')
const text = (x, y, words, more = {}) => make('text', {x, y, ...more}, words)
const CENTRED = {'text-anchor': 'middle'}, TO_THE_LEFT = {'text-anchor': 'end'}


// ---- a figure: two graphs

const STORY = {latents: ['tree', 'robot', 'ball'], actions: ['shove']}
const kicks = [[1, 0, 0], [1, 1, 0], [0, 1, 1]], chases = [[1, 0, 0], [1, 1, 1], [0, 1, 1]]
const PRESETS = {
    chases: {text: 'robot and ball chase each other', Gz: chases, ...STORY},
    shove: {text: '… and something shoves the ball', Gz: chases, Ga: [[0], [0], [1]], ...STORY},
    kicks: {text: 'the robot kicks the ball', Gz: kicks, ...STORY},
    nested: {text: 'nested actions', Ga: [[1, 0, 0], [1, 1, 0], [0, 1, 1]]},
    ActionDiag: {Ga: diagonal(4)},
    ActionNonDiag: {Ga: doubleDiagonal(4)},
    ActionNonDiagNoGraphCrit: {Ga: pairs(4)},
    ActionBlockDiag: {Ga: actionPairs(4)},
    ActionBlockNonDiag: {Ga: actionPairsShared(6)},
    TimeDiag: {Gz: diagonal(4)},
    TimeNonDiag: {Gz: lowerTriangular(4)},
    TimeNonDiagNoGraphCrit: {Gz: halves(6)},
    TimeBlockDiag: {Gz: pairs(4)},
    TimeBlockNonDiag: {Gz: timePairsCoupled(6)},
}

// Both graphs of a preset: empty ones for those it lacks
function presetGraphs(name) {
    const {Gz, Ga} = PRESETS[name], d = (Gz ?? Ga).length
    return structuredClone({Gz: Gz ?? grid(d, d, () => 0), Ga: Ga ?? grid(d, 0)})
}

const resized = (G, rows, columns) => grid(rows, columns, (i, j) => G[i]?.[j] ?? 0)
const named = (letter, n, names = []) => range(n).map(i => names[i] ?? letter + i)

function graphsFigure(home) {
    let preset, Gz, Ga
    const tables = make('div', {class: 'play-row'}), said = make('div', {role: 'status'}), sets = make('ul')
    const mixed = make('div')

    function answer() {
        const latents = named('z', Gz.length, preset.latents), actions = named('a', Ga[0].length, preset.actions)
        const P = consistencyPattern(Gz, Ga)
        mixed.replaceChildren(table('may stay mixed', P, latents, latents))
        said.replaceChildren(
            make('p', {}, make('strong', {}, `The criterion ${satisfiesCriterion(Gz, Ga) ? 'holds' : 'fails'}: `),
                 promise(P) + '.'),
            ...patternWords(P, latents).map(words => make('p', {}, words)))
        sets.replaceChildren(...latents.map((_, i) => make('li', {}, setWords(i, Gz, Ga, latents, actions))))
    }
    function rebuild() {
        const latents = named('z', Gz.length, preset.latents), actions = named('a', Ga[0].length, preset.actions)
        const toggle = G => (i, j) => { G[i][j] = 1 - G[i][j]; answer(); return G[i][j] }
        tables.replaceChildren(table('Gz: from the past', Gz, latents, latents, toggle(Gz)),
                               ...actions.length ? [table('Ga: from actions', Ga, latents, actions, toggle(Ga))] : [],
                               mixed)
        rows.select.value = Gz.length
        columns.select.value = Ga[0].length
        answer()
    }
    function resize(d, m) {
        [Gz, Ga] = [resized(Gz, d, d), resized(Ga, d, m)]
        rebuild()
    }
    function load(name) {
        preset = PRESETS[name];
        ({Gz, Ga} = presetGraphs(name))
        rebuild()
    }
    const numbers = (from, to) => range(to - from + 1).map(n => [n + from, n + from])
    const example = choice('example', Object.entries(PRESETS).map(([name, {text}]) => [name, text ?? name]), 'chases', load)
    const rows = choice('latents', numbers(1, 6), 3, n => resize(+n, Ga[0].length))
    const columns = choice('actions', numbers(0, 6), 0, n => resize(Gz.length, +n))
    home.append(make('div', {class: 'play-row'}, example.element, rows.element, columns.element), tables, said,
                make('p', {}, 'The sets that point at each latent:'), sets)
    load('chases')
}


// ---- a figure: two latents, turned

const TURNED = {
    each: {text: 'an action each', G: [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]},
    shared: {text: 'one shared, and one each', G: [[0, 0, 1, 1, 0], [0, 0, 1, 0, 1]]},
    same: {text: 'the same two actions', G: [[0, 0, 1, 1, 0], [0, 0, 1, 1, 0]]},
    nested: {text: 'nested actions', G: [[0, 0, 1, 0, 0], [0, 0, 1, 1, 0]]},
    itself: {text: 'each its own past', G: [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]]},
    chases: {text: 'each drives the other', G: [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0]]},
    shove: {text: '… and an action drives one', G: [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]},
}
const split = G => [G.map(row => row.slice(0, 2)), G.map(row => row.slice(2))]

function scatter({z}, angle) {
    const zHat = turn(z, angle), {assignment, correlation} = mcc(z, zHat)
    const panel = (i, j) => {
        const reach = 1.05 * Math.max(...z.flat().map(Math.abs)) * Math.SQRT2, place = v => 50 + 48 * v / reach
        return make('g', {transform: `translate(${24 + 108 * i} ${4 + 108 * j})`},
            make('rect', {width: 100, height: 100, class: assignment[i] == j ? 'play-match' : 'play-frame'}),
            make('path', {d: dots(z[i].map((v, n) => [place(v), 100 - place(zHat[j][n])])), class: 'play-dots'}),
            text(4, 12, correlation[i][j].toFixed(2).replace('-', '−')))
    }
    return make('svg', {viewBox: '0 0 240 236', role: 'img', 'aria-label': 'learned latents against true ones'},
        ...grid(2, 2, panel).flat(), ...[54, 162].flatMap((at, k) => [
            text(at + 20, 230, `true z${k}`, CENTRED),
            text(14, at, `learned ẑ${k}`, {...CENTRED, transform: `rotate(-90 14 ${at})`})]))
}

function curves(curve, angle) {
    const x = a => 34 + 310 * (a + 45) / 180, score = v => 100 - 88 * v, most = Math.max(4, ...curve.map(p => p.edges))
    const count = v => 212 - 80 * v / most, now = curve[angle + 45]
    const path = (name, y, kind) => make('path', {d: line(curve.map(p => [x(p.angle), y(p[name])])), class: kind})
    const mark = (name, y) => make('circle', {cx: x(angle), cy: y(now[name]), r: 4})
    const tick = (y, words) => text(30, y + 4, words, TO_THE_LEFT)
    const axis = (a, b) => make('line', {x1: 34, x2: 344, y1: a, y2: b, class: 'play-axis'})
    const label = 'R, MCC and number of edges against the angle'
    return make('svg', {viewBox: '0 0 364 236', role: 'img', 'aria-label': label},
        axis(100, 100), axis(212, 212), tick(12, '1'), tick(100, '0'), tick(count(most), most), tick(212, '0'),
        ...[-45, 0, 45, 90, 135].map(a => text(x(a), 230, degrees(a), CENTRED)),
        make('line', {x1: x(angle), x2: x(angle), y1: 8, y2: 212, class: 'play-now'}),
        path('r', score, 'play-r'), path('mcc', score, 'play-mcc'), path('edges', count, 'play-edges'),
        text(x(45), 26, 'R', CENTRED), text(x(45), score(curve[90].mcc) + 18, 'MCC', CENTRED),
        text(40, 124, 'number of edges'),
        mark('r', score), mark('mcc', score), mark('edges', count))
}

function rotationFigure(home) {
    let G, kind = 'sines', angle = 25, system, curve
    const graphs = make('div', {class: 'play-row'}), plots = make('div', {class: 'play-row play-plots'})
    const learned = make('div'), said = make('p', {role: 'status'}), least = make('p')

    function move(to = angle) {
        angle = to
        const effects = turnedEffects(system.slopes, angle), {mcc, r, edges} = curve[angle + 45]
        const largest = Math.max(...effects.flat(), 1e-9)
        learned.replaceChildren(table(
            'learned: size of effects', effects.map(row => row.map(size => size / largest)), ['ẑ0', 'ẑ1'],
            ['ẑ0', 'ẑ1', 'a0', 'a1', 'a2'], null, (i, j) => effects[i][j] > 1e-9 ? effects[i][j].toFixed(1) : ''))
        plots.replaceChildren(scatter(system, angle), curves(curve, angle))
        said.textContent = `At ${degrees(angle)} the MCC is ${mcc.toFixed(2)}, R is ${r.toFixed(2)}, and the learned `
                         + `graph has ${edges} edges. The true one has ${sum(G.flat())}.`
    }
    function change() {
        system = simulate(G, kind)
        curve = sweep(system)
        const holds = satisfiesCriterion(...split(G)) ? 'holds' : 'fails'
        least.replaceChildren(make('strong', {}, `The criterion ${holds}. `), leastWords(curve))
        move()
    }
    function load(name) {
        G = structuredClone(TURNED[name].G)
        const toggle = (i, j) => { G[i][j] = 1 - G[i][j]; change(); return G[i][j] }
        graphs.replaceChildren(table('true: click to change', G, ['z0', 'z1'], ['z0', 'z1', 'a0', 'a1', 'a2'], toggle),
                               learned)
        change()
    }
    const example = choice('graph', Object.entries(TURNED).map(([name, {text}]) => [name, text]), 'shared', load)
    const mechanisms = choice('mechanisms', ['sines', 'lines'].map(name => [name, name]), kind, name => {
        kind = name
        change()
    })
    home.append(make('div', {class: 'play-row'}, example.element, mechanisms.element), graphs,
                slider('angle', {min: -45, max: 135, value: angle}, degrees, move), plots, said, least)
    load('shared')
}


// ---- a figure: a threshold on measured effects

const TRUTH = doubleDiagonal(5)
const thresholds = range(121).map(k => k / 100)

function strip(effects, error, threshold) {
    const x = v => 34 + 310 * Math.min(v, 1.2) / 1.2, counts = thresholds.map(t => compareGraphs(TRUTH, effects, t).shd)
    const wrong = v => 84 - 70 * v / Math.max(...counts)
    const place = (i, j) => (TRUTH[i][j] ? 106 : 146) + (7 * (5 * i + j)) % 30
    const bars = grid(5, 5, (i, j) => line([[x(Math.max(0, effects[i][j] - error)), place(i, j)],
                                            [x(effects[i][j] + error), place(i, j)]])).flat().join('')
    const points = is => dots(TRUTH.flatMap((row, i) => row.flatMap((cell, j) =>
        cell == is ? [[x(effects[i][j]), place(i, j)]] : [])))
    const label = 'wrong edges against the threshold, and the effects'
    return make('svg', {viewBox: '0 0 364 216', role: 'img', 'aria-label': label},
        make('path', {d: line(thresholds.map((t, k) => [x(t), wrong(counts[k])])), class: 'play-mcc'}),
        make('line', {x1: 34, x2: 344, y1: 84, y2: 84, class: 'play-axis'}),
        make('line', {x1: 34, x2: 344, y1: 190, y2: 190, class: 'play-axis'}),
        make('path', {d: bars, class: 'play-axis'}),
        make('path', {d: points(1), class: 'play-dots play-true'}),
        make('path', {d: points(0), class: 'play-dots play-empty'}),
        make('line', {x1: x(threshold), x2: x(threshold), y1: 8, y2: 190, class: 'play-now'}),
        make('circle', {cx: x(threshold), cy: wrong(compareGraphs(TRUTH, effects, threshold).shd), r: 4}),
        text(30, 18, Math.max(...counts), TO_THE_LEFT), text(30, 88, '0', TO_THE_LEFT),
        text(189, 14, 'wrong edges', CENTRED),
        text(340, 116, 'edges', TO_THE_LEFT), text(340, 180, 'empty cells', TO_THE_LEFT),
        ...[0, .3, .6, .9, 1.2].map(v => text(x(v), 206, String(v), CENTRED)))
}

function thresholdFigure(home) {
    let threshold = .2, error = .1, seed = 1, effects
    const plots = make('div', {class: 'play-row play-plots'}), said = make('p', {role: 'status'})
    const mark = (i, j) => ['', '✕', '○', '●'][2 * TRUTH[i][j] + (effects[i][j] > threshold)]

    function show() {
        effects = measure(TRUTH, error, 1000 * seed)
        const {hits, missed, spurious, shd, precision, recall} = compareGraphs(TRUTH, effects, threshold)
        plots.replaceChildren(
            table('● found  ○ missed  ✕ false', effects.map(row => row.map(size => Math.min(1, size) / 2)),
                  named('z', 5), named('a', 5), null, mark),
            strip(effects, error, threshold))
        said.textContent = `${hits} of ${hits + missed} edges found, ${missed} missed, ${spurious} false: SHD ${shd}, `
                         + `precision ${precision.toFixed(2)}, recall ${recall.toFixed(2)}.`
    }
    const again = make('button', {type: 'button', class: 'play-again'}, 'measure again')
    again.addEventListener('click', () => { seed += 1; show() })
    const fixed = v => v.toFixed(2)
    home.append(
        slider('threshold', {min: 0, max: 1.2, step: .01, value: threshold}, fixed, v => { threshold = v; show() }),
        slider('error', {min: 0, max: .4, step: .02, value: error}, fixed, v => { error = v; show() }),
        again, plots, said)
    show()
}


// ---- the page: each figure takes the place of the still picture that Python made of it

const FIGURES = {'fig-play-graphs': graphsFigure, 'fig-play-rotation': rotationFigure,
                 'fig-play-threshold': thresholdFigure}

if (globalThis.document) for (const [id, fill] of Object.entries(FIGURES)) {
    const picture = document.querySelector(`#${id} img`)
    if (!picture) continue
    const home = make('div', {class: 'play', role: 'group', 'aria-label': picture.alt})
    fill(home)
    const paragraph = picture.closest('p') ?? picture
    paragraph.replaceWith(home)
}

globalThis.playground = {
    consistencyPattern, satisfiesCriterion, isolate, promise, patternWords, setWords, presetGraphs,
    mcc, rScore, compareGraphs, inputs, simulate, turn, turnedEffects, countEdges, sweep, leastWords, measure,
}
})()
