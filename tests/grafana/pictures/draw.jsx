// Draws a dashboard from the answers of a real Prometheus (ask.mjs), with the components of Grafana.
const React = require('react'), { createRoot } = require('react-dom/client'); require('uplot/dist/uPlot.min.css');
const { lastValueFrom } = require('rxjs');
const { createTheme, toDataFrame, applyFieldOverrides, getDisplayProcessor, standardFieldConfigEditorRegistry, FieldConfigOptionsRegistry,
  getFieldDisplayValues, ThemeContext, dateTime, standardTransformers, standardTransformersRegistry, transformDataFrame,
  renderTextPanelMarkdown } = require('@grafana/data');
const { PanelChrome, TimeSeries, BigValue, Table, GlobalStyles } = require('@grafana/ui');
const { interpolateRgbBasis } = require('d3-interpolate');

const { dash, res, from, to } = window.DATA, theme = createTheme({ colors: { mode: 'dark' } });
const step = (document.documentElement.clientWidth - 16) / 24;
const OPTIONS = ['unit', 'min', 'max', 'decimals', 'displayName', 'noValue', 'color', 'thresholds', 'mappings', 'links', 'filterable'];
const options = () => [...OPTIONS.map(path => ({ id: path, path, name: path, description: '', process: v => v, shouldApply: () => true, override: () => null, editor: () => null, settings: {} })),
  ...['width', 'cellOptions', 'align', 'fillOpacity', 'lineWidth'].map(name => ({ id: 'custom.' + name, path: name, isCustom: true, name, description: '', process: v => v, shouldApply: () => true, override: () => null, editor: () => null, settings: {} }))];
standardFieldConfigEditorRegistry.setInit(options);
const registry = new FieldConfigOptionsRegistry(options);
const transformers = new Map(Object.values(standardTransformers).map(t => [t.id, { id: t.id, name: t.name, transformation: t, editor: () => null }]));
standardTransformersRegistry.setInit(() => [...transformers.values()]);

const legend = (target, metric) => (target.legendFormat || '').replace(/{{\s*(\w+)\s*}}/g, (_, label) => metric[label] ?? '') || JSON.stringify(metric);
function frames(panel) {
  const out = [], many = (res[panel.id] ?? []).length > 1;
  for (const { target, r } of res[panel.id] ?? []) {
    const series = r.data?.result ?? [];
    if (target.format === 'table') {
      const keys = [...new Set(series.flatMap(s => Object.keys(s.metric)))];
      out.push(toDataFrame({ refId: target.refId, fields: [{ name: 'Time', type: 'time', values: series.map(s => s.value[0] * 1000) },
        ...keys.map(key => ({ name: key, type: 'string', values: series.map(s => s.metric[key] ?? '') })),
        { name: many ? `Value #${target.refId}` : 'Value', type: 'number', values: series.map(s => +s.value[1]) }] }));
    } else for (const s of series) {
      const values = s.values ?? [s.value], name = legend(target, s.metric);
      out.push(toDataFrame({ refId: target.refId, name, fields: [{ name: 'Time', type: 'time', values: values.map(v => v[0] * 1000) },
        { name: 'Value', type: 'number', labels: s.metric, config: { displayName: name }, values: values.map(v => +v[1]) }] }));
    }
  }
  return out;
}
const finished = (data, panel) => {
  const done = applyFieldOverrides({ data, fieldConfig: panel.fieldConfig, replaceVariables: x => x, theme, fieldConfigRegistry: registry, timeZone: 'utc' });
  for (const frame of done) for (const field of frame.fields) field.display ??= getDisplayProcessor({ field, theme, timeZone: 'utc' });
  return done;
};

// Grafana's heatmap is a part of its server's front end and no component of its own: these cells are drawn here, with the buckets taken apart and
// coloured as Grafana does it.
function Heatmap({ panel, width, height }) {
  const [{ r }] = res[panel.id], bound = s => +s.metric.le.replace('+Inf', 'Infinity');
  const rows = r.data.result.slice().sort((a, b) => bound(a) - bound(b)), times = rows[0].values.map(v => v[0]);
  const count = (row, i) => Math.max(0, +(rows[row].values[i]?.[1] ?? 0) - (row ? +(rows[row - 1].values[i]?.[1] ?? 0) : 0));
  const top = Math.max(...rows.flatMap((_, row) => times.map((_, i) => count(row, i))));
  const colour = interpolateRgbBasis(['#2b1408', '#7f2704', '#d94801', '#fd8d3c', '#fdd0a2', '#fff5eb']);
  const left = 48, bottom = 22, w = (width - left - 8) / times.length, h = (height - bottom - 30) / rows.length;
  const y = row => (rows.length - 1 - row) * h + 4, text = { fill: theme.colors.text.primary, fontSize: 12, fontFamily: theme.typography.fontFamily };
  return <svg width={width} height={height}>
    {rows.map((s, row) => <text key={row} x={left - 6} y={y(row) + h / 2 + 4} textAnchor="end" {...text}>{s.metric.le}</text>)}
    {rows.flatMap((_, row) => times.map((_, i) => { const n = count(row, i);
      return n > 1e-9 && <rect key={row + ',' + i} x={left + i * w} y={y(row)} width={w - 1} height={h - 1} fill={colour(Math.sqrt(n / top))} />; }))}
    {times.map((t, i) => i % 3 === 1 && <text key={i} x={left + i * w + w / 2} y={height - 34} textAnchor="middle" {...text}>{dateTime(t * 1000).utc().format('HH:mm:ss')}</text>)}
    {[0, 1, 2, 3, 4, 5].map(i => <rect key={i} x={left + i * 24} y={height - 22} width={24} height={8} fill={colour(i / 5)} />)}
    <text x={left - 6} y={height - 13} textAnchor="end" {...text}>0</text><text x={left + 150} y={height - 13} {...text}>{top.toFixed(1)}</text>
  </svg>;
}
function Body({ panel, width, height }) {
  const [data, set] = React.useState(null);
  React.useEffect(() => { lastValueFrom(transformDataFrame(panel.transformations ?? [], frames(panel))).then(set); }, []);
  if (panel.type === 'heatmap') return <Heatmap {...{ panel, width, height }} />;
  if (panel.type === 'text') return <div className="markdown" style={{ padding: 4 }} dangerouslySetInnerHTML={{ __html: renderTextPanelMarkdown(panel.options.content) }} />;
  if (!data) return null;
  const ready = finished(data, panel);
  if (panel.type === 'stat') {
    const [value] = getFieldDisplayValues({ data: ready, reduceOptions: panel.options.reduceOptions, fieldConfig: panel.fieldConfig, replaceVariables: x => x, theme, timeZone: 'utc' });
    return <BigValue {...{ width, height, theme }} value={value.display} colorMode={panel.options.colorMode} graphMode={panel.options.graphMode} textMode={panel.options.textMode} />;
  }
  if (panel.type === 'table') return <Table {...{ width, height }} data={ready[0]} initialSortBy={panel.options.sortBy} />;
  for (const frame of ready) for (const field of frame.fields) field.config.custom = { ...panel.fieldConfig.defaults.custom, ...field.config.custom };
  return <TimeSeries {...{ width, height }} frames={ready} timeRange={{ from: dateTime(from * 1000), to: dateTime(to * 1000), raw: {} }} timeZone="utc"
    legend={panel.options.legend} options={panel.options} tweakScale={s => s} tweakAxis={a => a} />;
}
class Guard extends React.Component { state = {}; static getDerivedStateFromError(e) { return { e }; }
  render() { return this.state.e ? <pre style={{ color: 'red' }}>{String(this.state.e.stack || this.state.e)}</pre> : this.props.children; } }
const high = Math.max(...dash.panels.map(({ gridPos: { y, h } }) => y + h)) * 38 + 50;
document.body.style.height = high + 'px';
createRoot(document.getElementById('root')).render(<ThemeContext.Provider value={theme}><GlobalStyles /><h2 style={{ margin: 8 }}>{dash.title}</h2><div style={{ position: 'relative' }}>
  {dash.panels.map(panel => { const { x, y, w, h } = panel.gridPos, width = w * step - 8;
    return <div key={panel.id} style={{ position: 'absolute', left: 8 + x * step, top: y * 38, width }}>
      {panel.type === 'row' ? <div style={{ padding: '8px 4px', fontWeight: 500, color: theme.colors.text.primary }}>{panel.title}</div> :
      <Guard><PanelChrome title={panel.title} width={width} height={h * 38 - 8}>{(w, h) => <Guard><Body panel={panel} width={w} height={h} /></Guard>}</PanelChrome></Guard>}</div>; })}
</div></ThemeContext.Provider>);
