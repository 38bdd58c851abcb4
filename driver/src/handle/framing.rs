//! How handles write what is sent: items and commands, in batches, each with its length in front.

use bytes::BytesMut;
use mosaik_proto::streams::item;

/// Appends one to a batch, with its length in the long form if `long`, else in the form that fits;
/// on failure the batch is as it was. Gives the bytes without the length.
pub(crate) fn frame<E>(
    batch: &mut BytesMut,
    long: bool,
    encode: impl FnOnce(&mut BytesMut) -> Result<(), E>,
    check: impl FnOnce(&[u8]) -> Result<(), E>,
) -> Result<usize, E> {
    /// Cuts off what is half-written, also when the encoder panics.
    struct Undo<'a>(&'a mut BytesMut, usize);
    impl Drop for Undo<'_> {
        fn drop(&mut self) {
            self.0.truncate(self.1);
        }
    }
    let start = batch.len();
    let undo = &mut Undo(batch, start);
    let form = if long { item::LONG } else { item::SHORT };
    undo.0.extend_from_slice(&[0; item::LONG][..form]);
    encode(undo.0)?;
    let payload = undo.0.len() - start - form;
    check(&undo.0[start + form..])?;
    match item::short(payload).filter(|_| !long) {
        Some(short) => undo.0[start..start + form].copy_from_slice(&short),
        None => {
            if !long {
                undo.0.extend_from_slice(&[0; item::LONG - item::SHORT]);
                let end = start + item::SHORT + payload;
                undo.0.copy_within(start + item::SHORT..end, start + item::LONG);
            }
            undo.0[start..start + item::LONG].copy_from_slice(&item::long(payload));
        }
    }
    undo.1 = undo.0.len();
    Ok(payload)
}
