// The groups have no behaviour of their own: panels read and write their model.
export default {};
